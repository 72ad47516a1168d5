"""Reports on a running training: history, progress, log lines and TensorBoard events."""
