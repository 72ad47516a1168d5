"""What is made of a checkpoint: evaluation, export, model card."""
