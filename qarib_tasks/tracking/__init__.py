"""Publishes trainings to experiment trackers, from what the trainings write anyway."""
