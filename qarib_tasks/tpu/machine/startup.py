"""The startup script of a TPU machine: from a bare image to a running command.

With an image, the machine's Docker runs it. Without one, it installs its own Python, because the machines'
Python is too old: uv makes an environment from pinned requirements and installs the project's wheel. The
files are from the bucket or, without a wheelhouse there, from the package index that pip and uv use, and are
checked against the SHA-256 in the script. The script runs at every boot and on every worker of a slice, and
repeats only what is missing.

Text that a user typed is never part of the script's own code: values are single-quoted assignments before
`startup.sh`, which is the same for all launches and expands them in double quotes only. The script holds no
secrets, as everyone who can read the machine's metadata can read it.
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
MAX_BYTES = 256 * 1024  # The limit of a metadata value.


@dataclass(frozen=True)
class BucketFile:
    """An object in the launch's bucket.

    Attributes:
        name: the object's name in the bucket.
        sha256: hex; the machine refuses other bytes.
        path: the file on the machine, below the working folder; by default the last part of `name`.
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
    """What a machine does after it boots.

    Attributes:
        name: of the TPU; it identifies the TPU's reports.
        bucket: without gs://.
        reports: gs:// folder for `<name>/worker-<number>.json` and `.log`. An object `<name>/stop` there asks
            the work to save and stop: it receives a SIGTERM, and should then end with an error.
        arguments: for the environment's Python, such as ("-m", "qarib_tasks.cli", "train", "--config",
            "config.yaml"). The working folder holds `files`.
        wheel, requirements: the project and its dependencies, pinned; the wheel keeps its file name.
        files: other files to download.
        wheelhouse: a tar of `uv`, of wheels and of `python/` (a mirror of uv's Python releases), for machines
            without internet access.
        image: address and digest of an image that has the environment and the project; the machine's Docker
            runs it, and the machine installs nothing. Empty: without one.
        python: the version that uv finds or downloads.
        uv: pip's requirements that install uv, with a version and checksums. The default is `uv.txt`.
        expires: seconds since 1970. The work is then asked to stop, and ten minutes later the machine deletes
            its own queued resource in any case.
        linger: seconds from the end of the work until the machine deletes its own queued resource, unless the
            run has deleted it; None: the machine does not delete it.
        report_every: seconds between reports. A report counts as a heartbeat if the work has printed
            something since the last one.
    """

    name: str
    bucket: str
    reports: str
    arguments: Sequence[str]
    wheel: BucketFile
    requirements: BucketFile
    files: Sequence[BucketFile] = ()
    wheelhouse: BucketFile | None = None
    image: str = ""
    python: str = "3.12"
    uv: str = field(default_factory=lambda: UV.read_text(encoding="utf-8"))
    report_every: float = 15.0
    expires: float | None = None
    linger: float | None = None


def render(launch: Launch, *, before: str = "") -> str:
    """The text of the script.

    Args:
        before: shell code that runs after the launch's values are assigned, and before `startup.sh`.

    Raises:
        ConfigError: a value contains a zero byte, a file is outside the working folder, or the script is too
            long for a metadata value.
    """
    bucket, prefix = split_address(launch.reports.rstrip("/") + "/")
    if bucket != launch.bucket:
        raise ConfigError(
            "the reports must be in the launch's own bucket",
            where=launch.reports,
            do=f"Use gs://{launch.bucket}/",
        )
    files = [*([] if launch.image else [launch.wheel, launch.requirements]), *launch.files]
    files += [launch.wheelhouse] if launch.wheelhouse else []
    for file in files:
        if file.local.startswith("/") or ".." in file.local.split("/") or not file.local:
            raise ConfigError(
                "the file must be below the working folder", where=file.local, do="Use a relative path"
            )
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
        "IMAGE": launch.image,
    }
    lists = {
        "OBJECTS": [quote(file.name, safe="") for file in files],
        "PATHS": [file.local for file in files],
        "SUMS": [file.sha256 for file in files],
        "ARGUMENTS": list(launch.arguments),
    }
    texts = [*values.values(), *(text for one in lists.values() for text in one)]
    if any("\0" in text for text in texts):
        raise ConfigError("a value contains a zero byte", where=launch.name, do="Remove it")
    head = [f"{key}={shlex.quote(value)}" for key, value in values.items()]
    head += [f"{key}=({' '.join(shlex.quote(text) for text in one)})" for key, one in lists.items()]
    script = "\n".join(["#!/bin/bash", *head, *filter(None, [before]), SCRIPT.read_text(encoding="utf-8")])
    if len(script.encode()) > MAX_BYTES:
        raise ConfigError(f"the startup script is longer than {MAX_BYTES} bytes", where=launch.name)
    return script


def with_launch(request: TpuRequest, launch: Launch) -> TpuRequest:
    """The request with the launch's startup script."""
    from dataclasses import replace

    return replace(request, startup_script=render(launch))
