"""Cloud TPU in Airflow: hook, operator, trigger, links."""
