"""Fill in a sentence with exported models, in a process that limits itself: *Try it* on the page.

    echo '{"models": [FOLDER], "sentence": TEXT, "count": 20, "seconds": 40, "bytes": 4000000000}' |
        python -m qarib_tasks.train.results.trial

The answer is a line of JSON: for each model `masks`, a list of [word, probability] for each [MASK], or
`fault`: what, where, do.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qarib_tasks.errors import QaribError

THREADS = "2"
SCORE = "/proc/self/oom_score_adj"


def limit(seconds: int, bytes_: int) -> None:
    """End this process after so many seconds, and refuse it more memory and threads.

    It is the first to be ended if the machine has no memory left.
    """
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    resource.setrlimit(resource.RLIMIT_DATA, (bytes_, bytes_))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Path(SCORE).write_text("1000", encoding="ascii")
    os.environ |= {
        "OMP_NUM_THREADS": THREADS,
        "TF_NUM_INTRAOP_THREADS": THREADS,
        "TF_NUM_INTEROP_THREADS": "1",
    }


def filled_in(model: Path, sentence: str, count: int) -> dict[str, Any]:
    """The words for the masks of a sentence, or what is wrong with it or with the model."""
    from qarib_tasks.train.results.fill_mask import FillMask

    try:
        (masks,) = FillMask(model)([sentence], count)
    except QaribError as error:
        return {"fault": {"what": error.what, "where": str(error.where or ""), "do": error.do}}
    except Exception as error:  # Others write the files of a model.
        what = f"the model cannot be used ({type(error).__name__})"
        return {"fault": {"what": what, "where": str(model), "do": "Check the files of its export"}}
    return {"masks": [[[guess.word, guess.probability] for guess in words] for words in masks]}


def answer(request: Mapping[str, Any]) -> list[dict[str, Any]]:
    from qarib_tasks.train import runtime

    runtime.choose_backend()
    return [filled_in(Path(model), request["sentence"], request["count"]) for model in request["models"]]


def main() -> None:
    request = json.load(sys.stdin)
    limit(request["seconds"], request["bytes"])
    # What libraries print is no part of the answer.
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    with out:
        out.write(json.dumps(answer(request)) + "\n")


if __name__ == "__main__":
    main()
