"""Step 3: a text shard to TFRecords of masked examples."""
