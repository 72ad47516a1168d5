"""Metrics, notifications and links to settings."""
