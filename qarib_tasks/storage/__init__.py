"""Files, bucket objects, and manifests: how to write, verify, and read them."""
