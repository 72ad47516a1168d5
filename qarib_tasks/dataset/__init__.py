"""Step 2 and the records of its results: raw shards, their audit, and the ledger of consumed sources."""
