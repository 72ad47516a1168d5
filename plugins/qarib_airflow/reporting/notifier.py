"""Who is told that something failed, and what to do about it: the log, and a Slack channel or a mailbox."""

from __future__ import annotations

import asyncio
import os
from html import escape
from typing import TYPE_CHECKING, Any

from airflow.sdk import Connection
from airflow.sdk.bases.notifier import BaseNotifier
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

from qarib_tasks.dataset.audit import repair
from qarib_tasks.layout import shard_of_label

if TYPE_CHECKING:
    from airflow.sdk import Context

# Connections that exist only where somebody made them for this.
SLACK = "qarib_slack"
SMTP = "qarib_smtp"
SHARD_TASKS = "shard."


class QaribNotifier(BaseNotifier):
    """Says what failed, why, and the command that repairs it.

    It always logs. Where there is a connection `qarib_slack` (type Slack Incoming Webhook) it also writes to
    that channel, and where there is `qarib_smtp` it mails to the addresses in the environment's
    `QARIB_NOTIFY`, or else to the sender's own. Of a shard it only logs: a thousand shards may fail of one
    cause, and the task `dataset` then tells of them all at once. That a message cannot be sent is logged and
    fails nothing.

    As a task's `on_failure_callback`, and awaited with a run that is past its deadline.
    """

    def notify(self, context: Context) -> None:
        text = failure(context)
        self.log.error("%s", text)
        if not context["ti"].task_id.startswith(SHARD_TASKS):
            self.send(text)

    async def async_notify(self, context: Context) -> None:
        text = late(context)
        self.log.error("%s", text)
        await asyncio.to_thread(self.send, text)

    def send(self, text: str) -> None:
        """Send it wherever there is a connection for it."""
        for connection, sender in ((SLACK, send_to_slack), (SMTP, send_mail)):
            try:
                if exists(connection):
                    sender(text)
            except Exception as error:
                self.log.warning("Could not be sent with the connection %s: %s", connection, error)


def exists(connection: str) -> bool:
    try:
        Connection.get(connection)
    except (AirflowNotFoundException, AirflowRuntimeError):
        return False
    return True


def send_to_slack(text: str) -> None:
    from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier

    notifier: Any = SlackWebhookNotifier(slack_webhook_conn_id=SLACK, text=text)
    notifier.notify({})


def send_mail(text: str) -> None:
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    to = os.environ.get("QARIB_NOTIFY") or Connection.get(SMTP).extra_dejson.get("from_email", "")
    subject, content = text.partition("\n")[0], f"<pre>{escape(text)}</pre>"
    notifier: Any = SmtpNotifier(smtp_conn_id=SMTP, to=to, subject=subject, html_content=content)
    notifier.notify({})


def failure(context: Context) -> str:
    """What failed, why, and what to do, a line each."""
    ti: Any = context["ti"]
    label = getattr(ti, "rendered_map_index", None) or (str(ti.map_index) if ti.map_index >= 0 else "")
    lines = [f"{ti.dag_id}: {ti.task_id}{f' [{label}]' if label else ''} failed"]
    if error := context.get("exception"):
        lines.append(str(error))
    lines.append(f"Run: {ti.run_id}")
    if ti.task_id.startswith(SHARD_TASKS) and (name := shard_of_label(label)):
        lines.append(f"To repair {name}: {repair(*dataset_of(context), [name])}")
    else:
        lines.append("When what was wrong is mended: clear the task; what is finished is left alone")
    if address := getattr(ti, "log_url", None):
        lines.append(f"Log: {address}")
    return "\n".join(lines)


def dataset_of(context: Context) -> tuple[str, str]:
    """The dataset that the run makes and its workspace, as its first task said; else words in their place."""
    try:
        run: Any = context["ti"].xcom_pull(task_ids="preflight")
        return str(run["dataset_id"]), str(run["config"]["workspace"])
    except Exception:
        return "DATASET", "WORKSPACE"


def late(context: Context) -> str:
    """Which run is past its deadline."""
    run: Any = context["dag_run"]
    return (
        f"{run['dag_id']}: the run {run['dag_run_id']} is not over at its deadline, "
        f"{context['deadline']['deadline_time']}\n"  # type: ignore[typeddict-item]
        "It goes on. See what it waits for in the Airflow UI"
    )
