"""Reading of source files, of any format, as lines."""
