"""The startup script of a TPU machine: from a bare image to a running command.

It brings its own Python, because the images' is too old: uv makes an environment from pinned requirements
and installs the project's wheel. All of it comes from the bucket or, without a wheelhouse there, from the
package index that pip and uv use, checked against the SHA-256 that this side knows. The script runs at every
boot and on every worker of a slice, and repeats only what is missing.

Nothing that a user typed is ever part of the script's own text: values are single-quoted assignments in front
of `startup.sh`, which is the same for all launches and expands them in double quotes only. The script holds
no secrets: whoever can read the machine's metadata can read it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from qarib_tasks.errors import ConfigError
from qarib_tasks.layout import STOP, WORKER
from qarib_tasks.storage.bucket import split_address
from qarib_tasks.storage.files import checksums
from qarib_tasks.tpu.api.request import TpuRequest

SCRIPT = Path(__file__).with_name("startup.sh")
# uv's version and checksums, as pip's requirements. `make lock` writes it.
UV = Path(__file__).with_name("uv.txt")
MAX_BYTES = 256 * 1024  # Of a metadata value.


@dataclass(frozen=True)
class BucketFile:
    """An object in the launch's bucket.

    Attributes:
        name: within the bucket.
        sha256: hex; the machine refuses other bytes.
        path: what it is called on the machine, below the working folder; the name's last part by default.
    """

    name: str
    sha256: str
    path: str = ""

    @classmethod
    def of(cls, file: Path, name: str) -> BucketFile:
        """The object that a local file is uploaded as."""
        return cls(name, checksums(file).sha256, file.name)

    @property
    def local(self) -> str:
        return self.path or self.name.rsplit("/", 1)[-1]


@dataclass(frozen=True, kw_only=True)
class Launch:
    """What a machine does once it has booted.

    Attributes:
        name: of the TPU; its reports are told apart by it.
        bucket: without gs://.
        reports: gs:// folder for `<name>/worker-<number>.json` and `.log`. An object `<name>/stop` there asks
            the work to save and end: it gets a SIGTERM, and should then end with an error.
        arguments: of the environment's Python, such as ("-m", "qarib_tasks.cli", "train", "--config",
            "config.yaml"). The working folder holds `files`.
        wheel, requirements: the project and all that it needs, each pinned; the wheel keeps its file name.
        files: to fetch besides.
        wheelhouse: a tar of `uv`, of wheels and of `python/` (a mirror of uv's Python releases), for machines
            without a way out.
        python: version that uv finds or fetches.
        uv: pip's requirements that install uv, with a version and checksums. By default those of `uv.txt`.
        expires: seconds since 1970. The work is then asked to end, and a little later the machine deletes its
            own queued resource, whatever happens.
        linger: seconds that a machine stays after its work before it deletes its own queued resource, for
            whoever follows the run; None leaves that to them altogether.
        report_every: seconds. A report is a heartbeat as long as the work prints something in between.
    """

    name: str
    bucket: str
    reports: str
    arguments: Sequence[str]
    wheel: BucketFile
    requirements: BucketFile
    files: Sequence[BucketFile] = ()
    wheelhouse: BucketFile | None = None
    python: str = "3.12"
    uv: str = field(default_factory=lambda: UV.read_text(encoding="utf-8"))
    report_every: float = 15.0
    expires: float | None = None
    linger: float | None = None


def render(launch: Launch) -> str:
    """The script.

    Raises:
        ConfigError: a value that no shell can hold, a file outside the working folder, or a script too long
            for a metadata value.
    """
    bucket, prefix = split_address(launch.reports.rstrip("/") + "/")
    if bucket != launch.bucket:
        raise ConfigError("reports go to the launch's own bucket", where=launch.reports)
    files = [launch.wheel, launch.requirements, *launch.files]
    files += [launch.wheelhouse] if launch.wheelhouse else []
    for file in files:
        if file.local.startswith("/") or ".." in file.local.split("/") or not file.local:
            raise ConfigError("must stay below the working folder", where=file.local)
    values = {
        "NAME": launch.name,
        "BUCKET": quote(launch.bucket, safe=""),
        "REPORTS": quote(f"{prefix}{launch.name}/{WORKER}", safe=""),
        "PYTHON_VERSION": launch.python,
        "UV": launch.uv,
        "EXPIRES": "" if launch.expires is None else str(round(launch.expires)),
        "LINGER": "" if launch.linger is None else f"{launch.linger:g}",
        "STOP": quote(f"{prefix}{launch.name}/{STOP}", safe=""),
        "EVERY": f"{launch.report_every:g}",
        "WHEEL": launch.wheel.local,
        "REQUIREMENTS": launch.requirements.local,
        "WHEELHOUSE": launch.wheelhouse.local if launch.wheelhouse else "",
    }
    lists = {
        "OBJECTS": [quote(file.name, safe="") for file in files],
        "PATHS": [file.local for file in files],
        "SUMS": [file.sha256 for file in files],
        "ARGUMENTS": list(launch.arguments),
    }
    texts = [*values.values(), *(text for one in lists.values() for text in one)]
    if any("\0" in text for text in texts):
        raise ConfigError("a value holds a zero byte, which no shell can hold", where=launch.name)
    head = [f"{key}={shlex.quote(value)}" for key, value in values.items()]
    head += [f"{key}=({' '.join(shlex.quote(text) for text in one)})" for key, one in lists.items()]
    script = "\n".join(["#!/bin/bash", *head, SCRIPT.read_text(encoding="utf-8")])
    if len(script.encode()) > MAX_BYTES:
        raise ConfigError(f"the startup script is longer than {MAX_BYTES} bytes", where=launch.name)
    return script


def with_launch(request: TpuRequest, launch: Launch) -> TpuRequest:
    """The request of a TPU that does it."""
    from dataclasses import replace

    return replace(request, startup_script=render(launch))
