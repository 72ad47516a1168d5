"""Training on several hosts, and the end of a training process."""
