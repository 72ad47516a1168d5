"""*Try it*: a sentence with [MASK] that a run's model and the previous one fill in.

Off unless `QARIB_PAGE_TRY` is 1. The models compute in a process of their own, with limits, one at a time.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from airflow.api_fastapi.core_api.security import GetUserDep
from fastapi import APIRouter, HTTPException, Request, Response

import qarib_tasks
from qarib_airflow.page import answers
from qarib_airflow.page.answers import TypedIn, answer, before, files_of, run_of
from qarib_airflow.page.bucket import ConnectionBucket
from qarib_airflow.page.guard import may_trigger
from qarib_airflow.page.threads import in_time
from qarib_tasks.errors import InputError, QaribError
from qarib_tasks.layout import HUGGING_FACE_CONFIG, HUGGING_FACE_WEIGHTS, TOKENIZER, VOCAB, ModelLayout
from qarib_tasks.views.files import Files, Stored
from qarib_tasks.views.model import model_view
from qarib_tasks.views.runs import RunRecord, trouble

router = APIRouter()
VARIABLE = "QARIB_PAGE_TRY"
SECONDS = 60  # of a process, and of the download of a model
MOST_MEMORY = 6 << 30  # bytes of a process
MOST_MODEL = 2 << 30  # bytes of a model's files
MOST_CHARACTERS = 500
WORDS = 20  # for each [MASK]
KEPT = 2  # models that are kept of the bucket
AT_ONCE = 2  # one computes, one waits
NAMES = (HUGGING_FACE_CONFIG, HUGGING_FACE_WEIGHTS, TOKENIZER, VOCAB)
_places = threading.BoundedSemaphore(AT_ONCE)
_thread = ThreadPoolExecutor(1, "qarib-try")


def may_try(user: Any) -> bool:
    """Whether a user may have models fill in a sentence: who may start runs, if the deployment has it on."""
    return os.environ.get(VARIABLE) == "1" and may_trigger(user)


@router.post("/data/try")
async def trial(request: Request, user: GetUserDep, typed: TypedIn, dag_id: str, run_id: str) -> Response:
    """The words for each [MASK] of a sentence, by the run's model and by the previous one.

    A page of another site cannot send this type of content without asking first.

    Raises:
        HTTPException: 403, 404, 415, 422, 429 if another sentence computes and one waits.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "the request is not JSON")
    sentence = typed["values"].get("sentence")
    if not isinstance(sentence, str) or not sentence.strip() or len(sentence) > MOST_CHARACTERS:
        raise HTTPException(422, f"a sentence of at most {MOST_CHARACTERS} characters is needed")

    def found() -> tuple[RunRecord, Files, str | None]:
        record = run_of(user, dag_id, run_id)
        if not may_try(user):
            raise HTTPException(403, "models are tried by users who may trigger the DAG qarib_pretrain")
        files = files_of(record)
        former = model_view(record, files, before(user, record)).get("former") or {}
        return record, files, former.get("model_id")

    record, files, former = await in_time(answers.THREADS.submit(answers.DATABASE, found))
    if record.model is None:
        raise HTTPException(404, "the run has no model yet")
    models = [record.model]
    if former:
        models.append(ModelLayout(record.model.root.parent / former, record.upload))
    return await in_time(_submitted(models, files, sentence), seconds=2 * AT_ONCE * SECONDS)


def _submitted(models: list[ModelLayout], files: Files, sentence: str) -> Future[Response]:
    if not _places.acquire(blocking=False):
        raise HTTPException(429, "another sentence is being filled in, and one waits: try again in a moment")
    try:
        work = _thread.submit(lambda: answer({"models": tried(models, files, sentence)}))
    except RuntimeError:
        _places.release()
        raise
    work.add_done_callback(lambda _: _places.release())
    return work


def tried(models: list[ModelLayout], files: Files, sentence: str) -> list[dict[str, Any]]:
    """For each model its `model_id`, and `masks` or `fault`."""
    results: list[dict[str, Any]] = []
    folders: list[Path] = []
    for model in models:
        result: dict[str, Any] = {"model_id": model.model_id}
        try:
            folders.append(folder_of(model, files))
        except QaribError as error:
            result["fault"] = trouble(error)
        results.append(result)
    usable = [result for result in results if "fault" not in result]
    for result, found in zip(usable, filled_in(folders, sentence) if folders else [], strict=True):
        result |= found
    return results


def filled_in(folders: list[Path], sentence: str) -> list[dict[str, Any]]:
    """What the process answers for each folder. It gets no variable with a secret."""
    request = {
        "models": [str(folder) for folder in folders],
        "sentence": sentence,
        "count": WORDS,
        "seconds": SECONDS,
        "bytes": MOST_MEMORY,
    }
    own = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-m", "qarib_tasks.train.results.trial"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=own | {"PYTHONPATH": str(Path(qarib_tasks.__path__[0]).parent), "PYTHONUTF8": "1"},
        cwd="/",
    )
    try:
        sent, _ = process.communicate(json.dumps(request).encode(), timeout=SECONDS + 5)
    except subprocess.TimeoutExpired:
        process.kill()
        sent, _ = process.communicate()
        process.returncode = -signal.SIGALRM
    try:
        found: list[dict[str, Any]] = json.loads(sent)
    except ValueError:
        late = process.returncode == -signal.SIGALRM
        what = f"the model took longer than {SECONDS} s" if late else "the model's process gave no answer"
        limits = f"{MOST_MEMORY >> 30} GiB of memory and {SECONDS} s"
        do = f"It has {limits}: use `qarib fill-mask` for larger models"
        return [{"fault": {"what": what, "where": "", "do": do}}] * len(folders)
    return found


def folder_of(model: ModelLayout, files: Files) -> Path:
    """The folder with a model's export: the workspace's, or a copy of the bucket's.

    Raises:
        InputError: there is no export, or it is too large.
        StorageError: the bucket does not answer.
    """
    if files.workspace is not None:
        root = files.workspace.resolve()
        folder = root / model.name_of(model.export)
        paths = [(folder / name).resolve() for name in NAMES]
        if all(path.is_file() and path.is_relative_to(root) for path in paths):
            _require_small(sum(path.stat().st_size for path in paths), str(folder))
            return folder
    if isinstance(files.bucket, ConnectionBucket):
        name = f"{model.name_of(model.export)}/"
        listed = {one.name: one for one in files.bucket.list(name)}
        objects = [listed[name + one] for one in NAMES if name + one in listed]
        if len(objects) == len(NAMES):
            _require_small(sum(one.size for one in objects), files.bucket.address + name)
            return _copies.of(files.bucket, objects)
    what, do = "the model has no export", "Wait for the task `export` of its run, or clear it"
    raise InputError(what, where=model.model_id, do=do)


def _require_small(size: int, where: str) -> None:
    if size > MOST_MODEL:
        what = f"the model is too large to be tried on the page (over {MOST_MODEL >> 30} GiB)"
        raise InputError(what, where=where, do="Use `qarib fill-mask`")


class Copies:
    """Models of the bucket in a temporary folder, the newest few. Only one thread uses it."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._kept: dict[tuple[Any, ...], Path] = {}

    def of(self, bucket: ConnectionBucket, objects: list[Stored]) -> Path:
        key = bucket.address, *((one.name, one.size, one.crc32c) for one in objects)
        if (known := self._kept.pop(key, None)) is None:
            self._folder = self._folder or tempfile.TemporaryDirectory(prefix="qarib-try-")
            while len(self._kept) >= KEPT:
                shutil.rmtree(self._kept.pop(next(iter(self._kept))))
            known = Path(tempfile.mkdtemp(dir=self._folder.name))
            until = time.monotonic() + SECONDS
            try:
                for one in objects:
                    bucket.download(one.name, known / one.name.rpartition("/")[2], until)
            except BaseException:
                shutil.rmtree(known)
                raise
        self._kept[key] = known
        return known


_copies = Copies()
