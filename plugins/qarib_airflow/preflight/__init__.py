"""What each DAG checks before it makes anything."""
