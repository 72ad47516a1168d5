"""Notifications of failures and what to do: to the log, and to a Slack channel or a mailbox."""

from __future__ import annotations

import asyncio
import os
from html import escape
from typing import TYPE_CHECKING, Any

from airflow.sdk import Connection
from airflow.sdk.bases.notifier import BaseNotifier
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowRuntimeError

from qarib_airflow.reporting import reasons
from qarib_airflow.reporting.addresses import answer_address
from qarib_tasks.dataset.audit import repair
from qarib_tasks.errors import masked
from qarib_tasks.layout import shard_of_label
from qarib_tasks.storage.system_errors import told

if TYPE_CHECKING:
    from airflow.sdk import Context

# Connections that an administrator creates for notifications.
SLACK = "qarib_slack"
SMTP = "qarib_smtp"
SHARD_TASKS = "shard."


class QaribNotifier(BaseNotifier):
    """Reports what failed, why, and the command that repairs it.

    It always logs, and keeps the reason for the QARiB page. If a connection `qarib_slack` (type Slack
    Incoming Webhook) exists, it also writes to that channel. If a connection `qarib_smtp` exists, it also
    sends mail to the addresses in the environment variable `QARIB_NOTIFY`, or else to the sender's address.
    For a shard it only logs: one cause can make a thousand shards fail, and the task `dataset` then reports
    all of them together. If a message cannot be sent, the log has a warning and nothing fails.

    Used as a task's `on_failure_callback`, and awaited for a run that is past its deadline.
    """

    def notify(self, context: Context) -> None:
        text = failure(context)
        self.log.info("::endgroup::")  # Airflow calls this in a group, which its UI folds.
        self.log.error("%s", text)
        reasons.keep(context["ti"], context.get("exception"))
        if not context["ti"].task_id.startswith(SHARD_TASKS):
            self.send(text)

    async def async_notify(self, context: Context) -> None:
        text = late(context)
        self.log.error("%s", text)
        await asyncio.to_thread(self.send, text)

    def send(self, text: str) -> None:
        """Send the text over each of the two connections that exists."""
        for connection, sender in ((SLACK, send_to_slack), (SMTP, send_mail)):
            try:
                if exists(connection):
                    sender(text)
            except Exception as error:
                self.log.warning("Could not send a message with the connection %s: %s", connection, error)


def keep_reason(context: Context) -> None:
    """Keep why a try failed, for the page, until the next one starts."""
    reasons.keep(context["ti"], context.get("exception"))


class QuestionNotifier(QaribNotifier):
    """Reports a question that a task asks, and where to answer it, over the same connections."""

    def notify(self, context: Context) -> None:
        text = question(context)
        self.log.info("%s", text)
        self.send(text)


def exists(connection: str) -> bool:
    try:
        Connection.get(connection)
    except (AirflowNotFoundException, AirflowRuntimeError):
        return False
    return True


def send_to_slack(text: str) -> None:
    from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier

    # Slack reads <…> as a link or a mention, such as that of everybody.
    plain = escape(text, quote=False)
    notifier: Any = SlackWebhookNotifier(slack_webhook_conn_id=SLACK, text=plain)
    notifier.notify({})


def send_mail(text: str) -> None:
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier

    to = os.environ.get("QARIB_NOTIFY") or Connection.get(SMTP).extra_dejson.get("from_email", "")
    subject, content = text.partition("\n")[0], f"<pre>{escape(text)}</pre>"
    notifier: Any = SmtpNotifier(smtp_conn_id=SMTP, to=to, subject=subject, html_content=content)
    notifier.notify({})


def shown(line: str) -> str:
    """A line without what would begin another line or header of a mail."""
    return "".join(letter if letter.isprintable() else " " for letter in line)


def failure(context: Context) -> str:
    """What failed, why, and what to do, on separate lines."""
    ti: Any = context["ti"]
    label = getattr(ti, "rendered_map_index", None) or (str(ti.map_index) if ti.map_index >= 0 else "")
    lines = [shown(f"{ti.dag_id}: {ti.task_id}{f' [{label}]' if label else ''} failed")]
    if error := context.get("exception"):
        lines.append(masked(str((told(error) if isinstance(error, OSError) else None) or error)))
    lines.append(f"Run: {ti.run_id}")
    if ti.task_id.startswith(SHARD_TASKS) and (name := shard_of_label(label)):
        lines.append(f"To repair {name}: {repair(*dataset_of(context), [name])}")
    else:
        lines.append("To try again: correct the cause and clear the task; finished work is reused")
    if address := getattr(ti, "log_url", None):
        lines.append(f"Log: {address}")
    return "\n".join(lines)


def question(context: Context) -> str:
    """What a task asks, until when, and where to answer, on separate lines."""
    ti: Any = context["ti"]
    task: Any = context["task"]
    hours = task.response_timeout.total_seconds() / 3600
    lines = [shown(f"{ti.dag_id}: {ti.task_id} waits for an approval"), shown(task.subject)]
    lines += [f"Run: {ti.run_id}", f"To answer within {hours:g} hours: {answer_address(ti)}"]
    return "\n".join([*lines, "", task.body])


def dataset_of(context: Context) -> tuple[str, str]:
    """The run's dataset and workspace, as its first task returned them; placeholders if unknown."""
    try:
        run: Any = context["ti"].xcom_pull(task_ids="preflight")
        return str(run["dataset_id"]), str(run["config"]["workspace"])
    except Exception:
        return "DATASET", "WORKSPACE"


def late(context: Context) -> str:
    """The message about a run that is past its deadline; Airflow checks the run's id."""
    run: Any = context["dag_run"]
    return (
        f"{run['dag_id']}: the run {run['dag_run_id']} did not finish by its deadline, "
        f"{context['deadline']['deadline_time']}\n"  # type: ignore[typeddict-item]
        "It continues. See the Airflow UI for the tasks that it waits for"
    )
