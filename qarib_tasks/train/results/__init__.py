"""Evaluation and export of a checkpoint, and the model card."""
