"""What is told of failures, and to whom: real Slack and SMTP clients against servers here."""

from __future__ import annotations

import asyncio
import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from qarib_airflow.reporting.notifier import QaribNotifier

from qarib_tasks.errors import InputError


def context(task: str, label: str | None = None, run: Any = None) -> Any:
    def xcom_pull(task_ids: str) -> Any:
        assert task_ids == "preflight"
        return run

    ti = SimpleNamespace(
        dag_id="qarib_pretrain",
        task_id=task,
        run_id="manual__1",
        map_index=-1 if label is None else 7,
        rendered_map_index=label,
        log_url="http://airflow/log",
        xcom_pull=xcom_pull,
    )
    return {"ti": ti, "exception": InputError("cannot be read", where="shard_0007")}


def test_a_shard_and_the_command_that_repairs_it_are_logged(
    capsys: pytest.CaptureFixture[str], slack: list[str]
) -> None:
    run = {"dataset_id": "qarib-0123456789", "config": {"workspace": "/w"}}
    QaribNotifier()(context("shard.convert", "heldout/shard_0007", run))
    log = capsys.readouterr().out
    assert "qarib_pretrain: shard.convert [heldout/shard_0007] failed" in log
    assert "shard_0007: cannot be read" in log
    conf = '{"dataset": "qarib-0123456789", "workspace": "/w", "shards": ["heldout/shards/shard_0007"]}'
    assert f"airflow dags trigger qarib_backfill_shards --conf '{conf}'" in log
    assert slack == [], "a thousand shards would be a thousand messages"


def test_slack_and_mail_are_told_of_the_rest(slack: list[str], mail: list[str]) -> None:
    QaribNotifier()(context("dataset"))
    for received in (slack, mail):
        (message,) = received
        assert "qarib_pretrain: dataset failed" in message
        assert "shard_0007: cannot be read" in message


def test_a_task_whose_process_is_gone_is_told(slack: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """From Airflow's DAG processor, where no XCom can be pushed and no error is known."""
    known = context("train")
    known.pop("exception")
    QaribNotifier()(known)
    assert ["qarib_pretrain: train failed" in message for message in slack] == [True]
    assert "Could not keep" not in caplog.text


def test_a_mail_goes_to_whom_it_may_concern(mail: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The sender unless the environment names others; an error is neither HTML nor a template."""
    QaribNotifier()(context("dataset") | {"exception": InputError("no <b>key</b> {{ 7 * 7 }}", where="w")})
    monkeypatch.setenv("QARIB_NOTIFY", "one@example.org, two@example.org")
    QaribNotifier()(context("train"))
    to_sender, to_others = mail
    assert "\nTo: airflow@example.org\n" in to_sender
    assert "Subject: qarib_pretrain: dataset failed" in to_sender
    assert "no &lt;b&gt;key&lt;/b&gt; {{ 7 * 7 }}" in to_sender
    assert "\nTo: one@example.org, two@example.org\n" in to_others


def test_a_message_shows_an_error_and_is_nothing_else(slack: list[str], mail: list[str]) -> None:
    """No markup of a mail, no mention in Slack, no header, no password."""
    error = ValueError("<!channel> <img src=x onerror=y> </pre> & https://me:PASSWORD@host/a?sig=SECRET")
    QaribNotifier()(context("finetune", "task\r\nBcc: x@example.org\r\n") | {"exception": error})
    (message,), (letter,) = slack, mail
    for received in (message, letter):
        assert "PASSWORD" not in received
        assert "SECRET" not in received
        assert "&lt;img src=x onerror=y&gt; &lt;/pre&gt; &amp; https://***@host/a?sig=***" in received
        assert "<img" not in received
        assert "<!channel>" not in received
    assert "\nBcc:" not in letter.partition("\n\n")[0]


def test_a_run_past_its_deadline(slack: list[str]) -> None:
    async def wait() -> None:
        run = {"dag_id": "qarib_pretrain", "dag_run_id": "manual__1"}
        await QaribNotifier(context={"dag_run": run, "deadline": {"deadline_time": "2026-11-22T10:00:00"}})

    asyncio.run(wait())
    (message,) = slack
    assert "qarib_pretrain: the run manual__1 did not finish by its deadline, 2026-11-22T10:00:00" in message


def test_a_message_that_cannot_be_sent_fails_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = {"conn_type": "slackwebhook", "password": "http://127.0.0.1:9/services/x"}
    monkeypatch.setenv("AIRFLOW_CONN_QARIB_SLACK", json.dumps(connection))
    QaribNotifier()(context("dataset"))
    log = capsys.readouterr().out
    assert "qarib_pretrain: dataset failed" in log
    assert "Could not send a message with the connection qarib_slack" in log


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The texts that a webhook of Slack's was given."""
    received: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(json.loads(body)["text"])
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        connection = {
            "conn_type": "slackwebhook",
            "password": f"http://127.0.0.1:{server.server_port}/services/x",
        }
        monkeypatch.setenv("AIRFLOW_CONN_QARIB_SLACK", json.dumps(connection))
        yield received
        server.shutdown()


@pytest.fixture
def mail(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The letters that a mail server was given."""
    received: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 here\r\n")
            while line := self.rfile.readline():
                if line.upper().startswith(b"DATA"):
                    self.wfile.write(b"354 go on\r\n")
                    letter = b""
                    while (line := self.rfile.readline()) != b".\r\n":
                        letter += line
                    received.append(text_of(letter))
                self.wfile.write(b"221 bye\r\n" if line.upper().startswith(b"QUIT") else b"250 fine\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        extra = {"disable_tls": True, "disable_ssl": True, "from_email": "airflow@example.org"}
        connection = {
            "conn_type": "smtp",
            "host": "127.0.0.1",
            "port": server.server_address[1],
            "extra": extra,
        }
        monkeypatch.setenv("AIRFLOW_CONN_QARIB_SMTP", json.dumps(connection))
        yield received
        server.shutdown()


def text_of(letter: bytes) -> str:
    from email import message_from_bytes

    message = message_from_bytes(letter)
    parts = [part.get_payload(decode=True) for part in message.walk()]
    head = [f"\n{name}: {value}" for name, value in message.items()]
    return "\n".join(["".join(head), *(part.decode() for part in parts if isinstance(part, bytes))])
