"""What a run has made, as plain values for a person to look at. Nothing here writes anything.

Everything is read from what the run keeps anyway: manifests, `progress.json`, `history.jsonl`, evaluations
and a TPU's `memory.json`. Of Airflow these modules know only the small dataclasses that they are given.
"""
