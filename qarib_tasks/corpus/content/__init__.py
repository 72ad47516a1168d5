"""What the bytes of a source file are: compression, archive, format, encoding."""
