"""Files on web servers and in buckets."""
