"""Weights in the formats of other programs."""
