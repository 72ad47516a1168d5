"""Raw Arabic text to a trained, evaluated, exported BERT: one plain function a step.

Nothing in this package imports Airflow; `plugins/` is the bridge and `dags/` the wiring.
"""

__version__ = "0.1.0"
