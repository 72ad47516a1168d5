"""The checks that each DAG makes before any work starts."""
