"""A run: the request, its names, and what happens before and after its steps."""
