"""Several hosts, and how a training process ends."""
