"""The page that shows QARiB's runs in Airflow's UI."""
