"""Machines that run the trainer, and what they can do."""
