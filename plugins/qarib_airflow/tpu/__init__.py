"""Cloud TPU in Airflow: hook, operators, trigger and links."""
