"""What a TPU VM is given to run, and what it reports."""
