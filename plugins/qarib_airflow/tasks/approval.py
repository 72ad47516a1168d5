"""Tasks that ask people before they do what cannot be taken back: promote a model, pay for a training.

The task itself asks, so a run without a question has no more tasks than before. While it waits, it is in
Airflow's state `awaiting_input`: no worker, no triggerer, and no TPU is held. docs/adr/0016.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.google.cloud.hooks.gcs import GCSHook
from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput

from qarib_airflow.defaults import CONNECTION
from qarib_airflow.preflight.deployment import approvers, deployment_defaults
from qarib_airflow.publishing.assets import describe_model
from qarib_airflow.reporting import reasons, waits
from qarib_airflow.reporting.addresses import run_addresses
from qarib_airflow.reporting.notifier import QuestionNotifier
from qarib_airflow.tasks.current_run import current_run
from qarib_airflow.tasks.in_turn import InTurn
from qarib_airflow.tasks.turns import of_model, of_tpu
from qarib_airflow.tpu.emulated import is_emulated
from qarib_airflow.tpu.prepare import needs_tpu, prepare_tpu
from qarib_tasks.errors import ConfigError, InputError, QaribError
from qarib_tasks.registry import approval, promotion
from qarib_tasks.runs.run import Run
from qarib_tasks.tpu.job import TpuJob
from qarib_tasks.tpu.prepare import at_prices_of, is_above, plan
from qarib_tasks.tpu.prepare import cost_of as cost_of_training

if TYPE_CHECKING:
    from airflow.sdk import Context

APPROVE, REFUSE = "Approve", "Refuse"
WHERE = "Required Actions in Airflow"
OTHER_PRICE = "The run sets its own price or share of the peak. At the deployment's"
AGAIN = "To be asked again, trigger the DAG again with the same settings: finished work is reused"


class AskingOperator(HITLOperator):
    """Asks people whether to do its work, if the run's settings say so."""

    template_fields = ()

    def __init__(self, **kwargs: Any) -> None:
        # The subject and the time to answer are known when the task runs. Without a time here, Airflow would
        # take the task's own time limit for it, and remove that.
        later: dict[str, Any] = {"subject": "-", "response_timeout": timedelta(hours=1)}
        super().__init__(options=[APPROVE, REFUSE], notifiers=QuestionNotifier(), **later, **kwargs)

    def ask(self, context: Context, subject: str, body: str, hours: float, **kept: Any) -> NoReturn:
        """Wait for an answer, unless this task has one already. It is given to `answered`, with `kept`."""
        self.subject, self.body = subject, body
        self.response_timeout = timedelta(hours=hours)
        self.assigned_users = [{"id": name, "name": name} for name in approvers()]
        self._require_asked(context)
        text = f"waits for an approval, {hours:g} hours at most, under {WHERE}: {subject}"
        waits.keep(context["ti"], "approval", text)
        try:
            super().execute(context)
        except TaskAwaitingInput as waiting:
            waiting.kwargs = {"hours": hours, **kept}
            raise
        raise AssertionError("Airflow did not wait for the answer")

    def earlier_answer(self, context: Context) -> dict[str, Any] | None:
        """What was answered in an earlier try, which failed after it; None after a clear."""
        found: Any = context["task_state_store"].get(_key(context))
        return found if isinstance(found, dict) else None

    def execute_complete(
        self, context: Context, event: dict[str, Any], hours: float = 0.0, **kept: Any
    ) -> Any:
        approved, why = False, f"no answer within {hours:g} hours"
        is_late = event.get("error_type") == "timeout"
        if not is_late:
            super().execute_complete(context, event)
            approved = event["chosen_options"] == [APPROVE]
            user: Mapping[str, str] = event["responded_by_user"] or {}
            why = (
                f"{'approved' if approved else 'refused'} by {user.get('name') or user.get('id') or 'a user'}"
            )
        self.log.info("%s: %s", self.subject, why)
        answer = {"approved": approved, "why": why, "is_late": is_late, **kept}
        context["task_state_store"].set(_key(context), answer)
        return self.answered(context, **answer)

    def answered(self, context: Context, *, approved: bool, why: str, is_late: bool, **kept: Any) -> Any:
        raise NotImplementedError

    def skip_because(self, context: Context, reason: str) -> NoReturn:
        """Skip the task for a reason that the page and the run's note have."""
        reasons.keep(context["ti"], reason)
        reasons.remark(context["ti"], reason)
        raise AirflowSkipException(reason)

    def _require_asked(self, context: Context) -> None:
        """Make sure that Airflow shows this question.

        Airflow 3.3 keeps the text and the users of a task's first question, also after the task is cleared.
        """
        from airflow.sdk.api.datamodels._generated import HITLUser
        from airflow.sdk.execution_time import task_runner
        from airflow.sdk.execution_time.comms import CreateHITLDetailPayload

        users = [HITLUser(id=user["id"], name=user["name"]) for user in self.assigned_users or ()]
        shown: Any = task_runner.SUPERVISOR_COMMS.send(
            CreateHITLDetailPayload(
                ti_id=context["ti"].id,
                options=self.options,
                subject=self.subject,
                body=self.body,
                params={},
                assigned_users=users,
            )
        )
        same = (shown.subject, shown.body) == (self.subject, self.body)
        if not same or {user.id for user in shown.assigned_users or ()} != {user.id for user in users}:
            raise InputError(
                "Airflow keeps the question that this task asked before it was cleared, and what it asks has "
                "changed since",
                do=AGAIN,
            )


class PromoteOperator(AskingOperator):
    """Promotes the run's model unless it is worse, or as people answer."""

    def execute(self, context: Context) -> None:
        run, client = current_run(), _client()
        asks = run.config.promotion.approval != "never"
        if asks and (answer := self.earlier_answer(context)):
            self.answered(context, **answer)
        elif (asked := promotion.question(run, client)) is None:
            self.finish(context, run)
        else:
            links = run_addresses(context["ti"]) | {"Model": run.at(run.model.root)}
            body = approval.body(run, asked, cost_of(context, client), links)
            hours, promoted = run.config.promotion.approval_hours, asked.promoted
            instead_of = promoted.model_id if promoted else ""
            self.ask(context, approval.subject(asked), body, hours, instead_of=instead_of)

    def answered(self, context: Context, *, approved: bool, why: str, is_late: bool, **kept: Any) -> None:
        self.finish(context, current_run(), promotion.Answer(approved, why, kept["instead_of"]))

    def finish(self, context: Context, run: Run, answer: promotion.Answer | None = None) -> None:
        model = promotion.promote(run, _client(), answer=answer)
        if model.state == "promoted":
            describe_model(context, model, run.model.manifest)
            return
        reason = f"{model.model_id} stays a candidate: {model.reason}"
        if answer:
            self.skip_because(context, f"{reason}. {AGAIN}")
        reasons.keep(context["ti"], reason)
        raise AirflowSkipException(reason)


class PrepareTpuOperator(InTurn, AskingOperator):
    """Uploads what the run's TPU needs, once no other run trains the model.

    Above a limit of its cost, people must approve it first. Then it waits until it is the next in the queue
    for a TPU, if the deployment has a pool of them.
    """

    def execute(self, context: Context) -> dict[str, Any] | None:
        run = current_run()
        self.wait_for_turn(context, run, of_model(run))
        if not needs_tpu(run, CONNECTION):
            return None
        deployed = deployment_defaults()["tpu"]
        limit = lowest(run.config.tpu.approval_above, deployed.get("approval_above"))
        # Who starts a run must not get around the deployment's limit by a price.
        priced = run if deployed.get("approval_above") is None else at_prices_of(run, deployed)
        if not (is_above(run, limit) or is_above(priced, limit)):
            return self.prepared(context)
        if answer := self.earlier_answer(context):
            job: dict[str, Any] = self.answered(context, **answer)
            return job
        subject = f"Train {run.model_id}, for more than {limit:,.2f} US dollars?"
        links = "\n".join(
            f"- [{title}]({address})" for title, address in run_addresses(context["ti"]).items()
        )
        emulated = "The TPU is emulated and costs nothing. A real one:" if is_emulated(CONNECTION) else ""
        other = "" if cost_of_training(priced) == cost_of_training(run) else OTHER_PRICE
        other = other and f"{other}: {cost_of_training(priced)}"
        texts = [emulated, approval.plain(plan(run)), approval.plain(other), links]
        body = "\n\n".join(filter(None, texts))
        self.ask(context, subject, body, run.config.tpu.approval_hours)

    def answered(
        self, context: Context, *, approved: bool, why: str, is_late: bool, **kept: Any
    ) -> dict[str, Any]:
        if approved:
            return self.prepared(context)
        text = f"the training was not begun: {why}"
        if is_late:
            raise InputError(text, do=AGAIN)
        self.skip_because(context, f"{text}. {AGAIN}")

    def prepared(self, context: Context) -> dict[str, Any]:
        run = current_run()
        if turn := of_tpu(run):
            self.wait_for_turn(context, run, turn)
        return prepare_tpu(run, context["run_id"], context["dag"].owner, CONNECTION)


def lowest(own: float | None, deployed: Any) -> float | None:
    """The lower one of two limits: the run's, and the deployment's as it is written.

    Raises:
        ConfigError: the deployment's is not a number.
    """
    try:
        limits = [float(limit) for limit in (own, deployed) if limit is not None]
    except (TypeError, ValueError):
        raise _no_limit(deployed) from None
    if any(math.isnan(limit) for limit in limits):
        raise _no_limit(deployed)
    return min(limits, default=None)


def _no_limit(deployed: Any) -> ConfigError:
    return ConfigError(f"approval_above is not a number: {deployed!r}", where="qarib_tpu", do="Correct it")


def cost_of(context: Context, client: Any) -> str:
    """What the run's training has cost, as a sentence."""
    values: Any = context["ti"].xcom_pull(task_ids="prepare_tpu")
    if not values:
        return "This run created no TPU."
    job = TpuJob.from_dict(values)
    try:
        memory = job.memory(client).load()
    except QaribError as error:
        return f"The cost of the training is unknown: {error}"
    if memory is None or memory.emulated:
        return "The TPU is emulated and costs nothing."
    return f"The training cost about {memory.cost(memory.since, job.price):,.2f} US dollars."


def _key(context: Context) -> str:
    # Airflow increases max_tries when a user clears the task, and keeps it for the retries.
    return f"answer_{context['ti'].max_tries}"


def _client() -> Any:
    return GCSHook(gcp_conn_id=CONNECTION).get_conn()
