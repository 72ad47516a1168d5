"""Step 2 and after: raw shards, their audit, and the ledger of consumed sources."""
