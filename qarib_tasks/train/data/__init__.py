"""Examples: shards staged to local disk, read into batches."""
