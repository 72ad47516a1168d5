"""The page that shows QARiB's runs inside Airflow's UI."""
