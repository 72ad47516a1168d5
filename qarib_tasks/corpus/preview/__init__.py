"""What a source holds and what would be kept of it, from a sample of its beginning."""
