"""The trigger forms."""
