"""Labelled tasks: results, curves, and texts that changed."""
