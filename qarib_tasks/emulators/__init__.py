"""Emulators of Google services, to run the complete pipeline on a laptop."""
