"""Files, bucket objects and manifests: how they are written, verified and read."""
