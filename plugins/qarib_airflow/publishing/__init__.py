"""Uploads, published objects, and the assets that announce them."""
