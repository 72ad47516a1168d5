"""Finished models: promotion, retraining and clean-up."""
