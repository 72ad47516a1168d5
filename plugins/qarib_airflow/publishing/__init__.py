"""Uploads, what is published, and the assets that announce it."""
