"""Setup, pods, Celery settings and preloading for an Airflow deployment."""
