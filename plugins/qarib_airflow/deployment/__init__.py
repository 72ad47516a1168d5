"""What an Airflow deployment loads: setup, pods, Celery settings, preloading."""
