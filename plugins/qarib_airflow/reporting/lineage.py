"""Reports to OpenLineage what a task read and made, if Airflow's provider for it is installed and set up.

The provider's own events of a task have no datasets: they cannot know those of a Python function. Its
function `emit_dataset_lineage` adds them to the same run. No fault of this fails a task.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from typing import Any

from qarib_tasks.runs.lineage import Data, Step, lineage_of
from qarib_tasks.runs.run import Run

log = logging.getLogger(__name__)
SOURCE = "QARIB"


def report_lineage(run: Run, task: str) -> None:
    """Report what `lineage_of` returns for the task. Call it in the task, at its end."""
    try:
        if not is_on():
            return
        from airflow.providers.openlineage.api import emit_dataset_lineage

        inputs, outputs, facets = as_events(lineage_of(run, task))
        emit_dataset_lineage(inputs=inputs, outputs=outputs, additional_run_facets=facets)
    except Exception as error:
        log.warning("The lineage of the task is not reported: %s", error)


def is_on() -> bool:
    """Whether the provider is installed and has where to send events."""
    if find_spec("airflow.providers.openlineage") is None:
        return False
    from airflow.providers.openlineage import conf

    return not conf.is_disabled()


def as_events(step: Step) -> tuple[list[Any], list[Any], dict[str, Any]]:
    """The inputs, the outputs, and the facets of the run, as the classes of OpenLineage's client."""
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import (
        input_statistics_input_dataset,
        output_statistics_output_dataset,
        tags_run,
    )

    inputs, outputs = [], []
    for one in step.inputs:
        counts: Any = input_statistics_input_dataset.InputStatisticsInputDatasetFacet
        facets = {"inputStatistics": counts(one.rows, one.bytes, one.files)} if _has_counts(one) else {}
        inputs.append(InputDataset(*one.place, inputFacets=facets, facets=_facets(one)))
    for one in step.outputs:
        counts = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet
        facets = {"outputStatistics": counts(one.rows, one.bytes, one.files)} if _has_counts(one) else {}
        outputs.append(OutputDataset(*one.place, outputFacets=facets, facets=_facets(one)))
    if not step.made_by:
        return inputs, outputs, {}
    tags = [tags_run.TagsRunFacetFields(key="made_by", value=step.made_by, source=SOURCE)]
    return inputs, outputs, {"tags": tags_run.TagsRunFacet(tags=tags)}


def _has_counts(data: Data) -> bool:
    return any(count is not None for count in (data.rows, data.bytes, data.files))


def _facets(data: Data) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_version_dataset, schema_dataset

    facets: dict[str, Any] = {}
    if data.version:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(data.version)
    if data.fields:
        fields = [schema_dataset.SchemaDatasetFacetFields(name, kind) for name, kind in data.fields.items()]
        facets["schema"] = schema_dataset.SchemaDatasetFacet(fields)
    return facets
