"""Commands for trackers."""
