"""Wheelhouses: what a TPU machine without internet access installs from."""
