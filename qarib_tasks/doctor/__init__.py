"""Checks of a deployment, each a function of its inputs, and the file for a bug report."""
