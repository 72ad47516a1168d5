"""The resources and secrets of each step's pod on Kubernetes. Airflow calls `pod_mutation_hook` for each pod.

The values file of the Helm chart (deploy/kubernetes/values.yaml) sets it in Airflow's local settings; no DAG
refers to it.
"""

from __future__ import annotations

from typing import Any

# A task's own process and Airflow's two processes around it, which use 0.4 GB together.
SMALL = {"cpu": "500m", "memory": "1Gi"}
STEPS: dict[str, dict[str, str]] = {
    # One core each; peak memory is 520 MB on shards of 512,000 lines.
    "shard.convert": {"cpu": "1", "memory": "1536Mi"},
    # The corpus is streamed; sorting and removing duplicates use bounded memory and the rest of the core.
    "collect_source": {"cpu": "1", "memory": "3Gi"},
    "collect": {"cpu": "1", "memory": "4Gi"},
    # SentencePiece on the word counts: 0.4 GB with our recipe, 2.7 GB with the published one.
    "vocab": {"cpu": "2", "memory": "4Gi"},
    # TensorFlow and a BERT-base with 64,000 entries, three times (weights and the optimizer's averages).
    "train": {"cpu": "2", "memory": "6Gi"},
    "evaluate": {"cpu": "2", "memory": "4Gi"},
    "export": {"cpu": "1", "memory": "4Gi"},
    "finetune": {"cpu": "2", "memory": "6Gi"},
    # A regression on TF-IDF.
    "finetuning_table": {"cpu": "1", "memory": "3Gi"},
}
# The Helm chart gives these to every container. A task has a token of its own for Airflow's API instead.
NOT_OF_TASKS = frozenset(
    {
        "AIRFLOW__API__SECRET_KEY",
        "AIRFLOW__API_AUTH__JWT_SECRET",
        "AIRFLOW__CORE__FERNET_KEY",
        "AIRFLOW__CORE__SQL_ALCHEMY_CONN",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN",
        "AIRFLOW__WEBSERVER__SECRET_KEY",
        "AIRFLOW_CONN_AIRFLOW_DB",
    }
)


def pod_mutation_hook(pod: Any) -> None:
    """Set the resource requests and the memory limit of a task's container, and remove Airflow's own secrets.

    Args:
        pod: a `kubernetes.client.V1Pod` that Airflow is about to create; changed in place. The pods of other
            teams' DAGs are not changed.
    """
    annotations = pod.metadata.annotations or {}
    if not annotations.get("dag_id", "").startswith("qarib_"):
        return
    from kubernetes.client import V1ResourceRequirements

    wanted = STEPS.get(annotations.get("task_id", ""), SMALL)
    for container in pod.spec.containers:
        container.env = [one for one in container.env or () if one.name not in NOT_OF_TASKS]
        if container.name == "base":
            container.resources = V1ResourceRequirements(requests=wanted, limits={"memory": wanted["memory"]})
