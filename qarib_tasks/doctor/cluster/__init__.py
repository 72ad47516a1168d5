"""Checks of a GKE cluster."""
