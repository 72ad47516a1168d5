"""The bridge between Airflow and `qarib_tasks`."""
