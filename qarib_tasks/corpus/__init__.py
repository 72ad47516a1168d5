"""Step 0: sources to one cleaned, deduplicated text."""
