"""Step 0: collects sources into one cleaned, deduplicated text."""
