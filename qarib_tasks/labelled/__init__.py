"""Labelled tasks: texts with labels, on which models and baselines are scored."""
