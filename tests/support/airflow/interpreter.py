"""Code in a process of its own, forked from one that has imported Airflow and nothing of this project.

Importing Airflow takes seconds, and a task's process is forked in the same way. As a program, the module is
that first process: it takes a request per line, until its standard input ends.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NoReturn

REPOSITORY = Path(__file__).resolve().parents[3]


@cache
def _parent() -> subprocess.Popen[str]:
    # -P: without the folder of this file in its path.
    command = [sys.executable, "-P", __file__]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def run(code: str, arguments: tuple[str, ...] = (), **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that has imported only Airflow, and finds the DAG files.

    Args:
        arguments: the rest of `sys.argv`.
        environment: variables in addition to this process's.
    """
    parent = _parent()
    assert parent.stdin
    assert parent.stdout
    request = {"code": code, "arguments": ["-c", *arguments], "environment": {**os.environ, **environment}}
    print(json.dumps(request), file=parent.stdin, flush=True)
    answer = json.loads(parent.stdout.readline())
    return subprocess.CompletedProcess(code, **answer)


def printed(code: str, *arguments: str, **environment: str) -> str:
    """Return the last line that the code prints."""
    done = run(code, arguments, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


def _serve() -> None:
    import airflow.sdk
    import airflow.sdk.configuration
    import airflow.sdk.exceptions  # noqa: F401

    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            with TemporaryFile("w+") as output, TemporaryFile("w+") as errors:
                child = os.fork()
                if not child:
                    os.dup2(output.fileno(), 1)
                    os.dup2(errors.fileno(), 2)
                    _execute(json.loads(line))
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                texts = []
                for file in (output, errors):
                    file.seek(0)
                    texts.append(file.read())
            answer = {"returncode": status, "stdout": texts[0], "stderr": texts[1]}
            print(json.dumps(answer), file=answers, flush=True)


def _execute(request: dict[str, Any]) -> NoReturn:
    status = 1
    try:
        os.environ.clear()
        os.environ.update(request["environment"])
        sys.argv = request["arguments"]
        sys.path[:0] = [str(REPOSITORY / folder) for folder in ("", "dags", "plugins")]
        exec(request["code"], {"__name__": "__main__"})
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
