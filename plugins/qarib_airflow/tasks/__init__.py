"""The DAGs' tasks."""
