"""The startup script of a TPU machine: from a bare image to a running command.

It brings its own Python, because the images' is too old: uv makes an environment from pinned requirements
and installs the project's wheel. All of it comes from the bucket or, without a wheelhouse there, from the
package index. It runs at every boot, does again only what is missing, and on every worker of a slice.

Nothing of a user's is ever part of the script's own text: values stand in single-quoted assignments at its
head, and its body, which is the same for all, expands them in double quotes only. There are no secrets in
it: who may read the machine's metadata may read it.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from qarib_tasks.errors import ConfigError
from qarib_tasks.storage import checksums, split_address
from qarib_tasks.tpu.cloud_request import TpuRequest

UV_URL = "https://github.com/astral-sh/uv/releases/download/0.9.0/uv-x86_64-unknown-linux-gnu.tar.gz"
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
    uv_url: str = UV_URL
    report_every: float = 15.0


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
        "REPORTS": quote(f"{prefix}{launch.name}/worker-", safe=""),
        "PYTHON_VERSION": launch.python,
        "UV_URL": launch.uv_url,
        "STOP": quote(f"{prefix}{launch.name}/stop", safe=""),
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
    script = "\n".join(["#!/bin/bash", *head, _BODY.lstrip("\n")])
    if len(script.encode()) > MAX_BYTES:
        raise ConfigError(f"the startup script is longer than {MAX_BYTES} bytes", where=launch.name)
    return script


def with_launch(request: TpuRequest, launch: Launch) -> TpuRequest:
    """The request of a TPU that does it."""
    from dataclasses import replace

    return replace(request, startup_script=render(launch))


# STORAGE_EMULATOR_HOST and GCE_METADATA_HOST are not set on a real machine, nor is QARIB_PYTHON, with which
# an emulated one shares an environment that is there.
_BODY = r"""
set -Eeuo pipefail
HOME="${HOME:-/root}"
WORK="$HOME/qarib/$NAME"
mkdir -p "$WORK"
cd "$WORK"
exec 9>.lock
flock -n 9 || { echo "qarib: it runs already"; exit 0; }

STORAGE="${STORAGE_EMULATOR_HOST:-https://storage.googleapis.com}"
METADATA="http://${GCE_METADATA_HOST:-metadata.google.internal}/computeMetadata/v1"
AGAIN=(--retry 8 --retry-all-errors --retry-max-time 300 --connect-timeout 10)

metadata() { curl -sSf "${AGAIN[@]}" -H 'Metadata-Flavor: Google' "$METADATA/$1"; }

authorization() {  # On standard input of curl, so that no process list shows the token.
  metadata instance/service-accounts/default/token |
    sed -n 's/.*"access_token" *: *"\([^"]*\)".*/header = "Authorization: Bearer \1"/p'
}

fetch() {  # OBJECT FILE SHA256
  if [ -f "$2" ] && echo "$3  $2" | sha256sum -c --status 2>/dev/null; then return; fi
  mkdir -p "$(dirname "./$2")"
  authorization | curl -sSf "${AGAIN[@]}" -K - -o .download "$STORAGE/storage/v1/b/$BUCKET/o/$1?alt=media"
  if [ "$(sha256sum < .download)" != "$3  -" ]; then
    echo "qarib: $2 is not what was uploaded: its SHA-256 differs"
    return 1
  fi
  mv .download "./$2"
}

upload() {  # FILE OBJECT TYPE
  authorization | curl -sSf "${AGAIN[@]}" -K - -o .answer -H "Content-Type: $3" --data-binary "@$1" \
    "$STORAGE/upload/storage/v1/b/$BUCKET/o?uploadType=media&name=$2"
}

report() {  # STATE: what the run's operator reads; the message is the log's end.
  local message size
  size=$(stat -c %s log)
  message=$(tail -n 20 log | tr -d '\000-\011\013-\037\177' |
    sed 's/\\/\\\\/g; s/"/\\"/g' | awk '{ printf "%s\\n", $0 }')
  # The mark changes as long as the work prints something: work that hangs shows as well as a dead machine.
  printf '{"name": "%s", "mark": "%s %s", "state": "%s", "message": "%s"}\n' \
    "$NAME" "$1" "$size" "$1" "$message" > .report
  upload log "$REPORTS$WORKER.log" 'text/plain; charset=utf-8'
  upload .report "$REPORTS$WORKER.json" application/json
}

is_asked_to_stop() {
  authorization | curl -sf --connect-timeout 10 -K - -o .answer "$STORAGE/storage/v1/b/$BUCKET/o/$STOP"
}

is_preempted() { [ "$(metadata instance/preempted)" = TRUE ]; }

end_work() {  # WHY: ask it to save and end, once.
  if [ ! -e ".$1" ]; then
    echo "qarib: the work is asked to end: $1" | tee -a log
    touch ".$1"
    kill -TERM "$(cat .pid)"
  fi
}

watch() {  # Until somebody writes a line to 7.
  until read -rt "$EVERY" -u 7 _; do
    report running
    if is_asked_to_stop; then end_work stopped; fi
    if is_preempted; then end_work preempted; fi
  done
}

environment() {
  if [ -n "${QARIB_PYTHON:-}" ]; then PYTHON="$QARIB_PYTHON"; return; fi
  PYTHON="$WORK/environment/bin/python"
  if [ -f environment/complete ]; then return; fi
  local options=()
  if [ -n "$WHEELHOUSE" ]; then
    mkdir -p wheelhouse
    tar -xf "./$WHEELHOUSE" -C wheelhouse
    UV="$WORK/wheelhouse/uv"
    export UV_PYTHON_INSTALL_MIRROR="file://$WORK/wheelhouse/python"
    options=(--no-index --find-links wheelhouse)
  else
    curl -sSfL "${AGAIN[@]}" -o uv.tar.gz "$UV_URL"
    mkdir -p uv
    tar -xzf uv.tar.gz -C uv --strip-components 1
    UV="$WORK/uv/uv"
  fi
  rm -rf environment
  "$UV" venv --quiet --python "$PYTHON_VERSION" environment
  "$UV" pip install --quiet --python "$PYTHON" "${options[@]}" -r "./$REQUIREMENTS" "./$WHEEL"
  touch environment/complete
}

work() {
  echo "qarib: $NAME, worker $WORKER, $(date -u +%Y-%m-%dT%H:%M:%SZ)"
  local i
  for i in "${!OBJECTS[@]}"; do fetch "${OBJECTS[$i]}" "${PATHS[$i]}" "${SUMS[$i]}"; done
  environment
  export QARIB_TPU_NAME="$NAME" QARIB_TPU_WORKER="$WORKER" PYTHONUNBUFFERED=1
  exec "$PYTHON" "${ARGUMENTS[@]}"
}

WORKER=$(metadata instance/attributes/agent-worker-number)
rm -f .stopped .preempted
mkfifo -m 600 .wake 2>/dev/null || true
exec 7<> .wake
# A machine that goes down sends every process a TERM. This shell heeds it when the work has ended, the log's
# writer not at all: what the work still says is kept.
trap 'touch .preempted' TERM
set +e
touch log
watch 9>&- &
WATCH=$!
# In a shell of its own the first thing that fails is the end; it becomes the work itself.
( trap - TERM; set -e; echo "$BASHPID" > .pid; work ) 2>&1 < /dev/null 7>&- 9>&- |
  ( trap '' TERM; exec tee -a log 7>&- 9>&- )
STATUS=${PIPESTATUS[0]}
echo >&7
wait "$WATCH"
if [ "$STATUS" -eq 0 ]; then STATE=succeeded
elif [ -e .stopped ]; then STATE=stopped
elif [ -e .preempted ]; then STATE=preempted
else STATE=failed
fi
report "$STATE"
exit "$STATUS"
"""
