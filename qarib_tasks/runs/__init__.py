"""A run: what is requested, the names it gets, and what it needs before and after its steps."""
