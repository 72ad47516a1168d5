"""The results of a run as plain values for the page. Nothing here writes anything.

Everything is read from files that the run writes in any case: manifests, `progress.json`, `history.jsonl`,
evaluations, and a TPU's `memory.json`. These modules know Airflow only through the small dataclasses that
callers pass.
"""
