"""On Kubernetes: what each step's pod asks for. Airflow calls `pod_mutation_hook` for each pod that it makes.

The values file of the Helm chart (deploy/kubernetes/values.yaml) brings it in as Airflow's local settings;
no DAG knows of it.
"""

from __future__ import annotations

from typing import Any

# A task's own process and Airflow's two around it, which take 0.4 GB together.
SMALL = {"cpu": "500m", "memory": "1Gi"}
STEPS: dict[str, dict[str, str]] = {
    # One core each: 520 MB at the peak, on shards of 512,000 lines.
    "shard.convert": {"cpu": "1", "memory": "1536Mi"},
    # The corpus passes through; sorting and removing repeats are bounded, and take what is left of the core.
    "collect_source": {"cpu": "1", "memory": "3Gi"},
    "collect": {"cpu": "1", "memory": "4Gi"},
    # SentencePiece on the words' counts: 0.4 GB as we do it, 2.7 GB with the published recipe.
    "vocab": {"cpu": "2", "memory": "4Gi"},
    # TensorFlow and a BERT-base with 64,000 entries, three times (weights and the optimizer's averages).
    "train": {"cpu": "2", "memory": "6Gi"},
    "evaluate": {"cpu": "2", "memory": "4Gi"},
    "export": {"cpu": "1", "memory": "4Gi"},
}


def pod_mutation_hook(pod: Any) -> None:
    """Set the requests of a task's container, and its memory limit, by the task that the pod is for.

    Args:
        pod: a `kubernetes.client.V1Pod` that Airflow is about to make; changed in place. One of somebody
            else's DAG is left alone.
    """
    annotations = pod.metadata.annotations or {}
    if not annotations.get("dag_id", "").startswith("qarib_"):
        return
    from kubernetes.client import V1ResourceRequirements

    wanted = STEPS.get(annotations.get("task_id", ""), SMALL)
    for container in pod.spec.containers:
        if container.name == "base":
            container.resources = V1ResourceRequirements(requests=wanted, limits={"memory": wanted["memory"]})
