"""Step 3: convert a text shard to TFRecords of masked examples."""
