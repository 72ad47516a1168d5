"""Every setting of every step, as frozen dataclasses."""
