"""Settings of the model and its training."""
