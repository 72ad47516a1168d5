"""What a check finds: a state, what, where, and the command that fixes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from qarib_tasks.counting import counted
from qarib_tasks.errors import QaribError, masked

State = Literal["ok", "warning", "fault"]


@dataclass(frozen=True)
class Result:
    """A line of the doctor.

    Attributes:
        subject: what is checked, such as `bucket`.
        what: what was found.
        where: the file, setting, zone, or resource.
        do: a command, or what to set.
    """

    state: State
    subject: str
    what: str
    where: str = ""
    do: str = ""

    def __post_init__(self) -> None:
        for name in ("what", "where", "do"):
            object.__setattr__(self, name, masked(" ".join(getattr(self, name).split())))

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        line = f"{self.state:<9}{self.subject:<17}{where}{self.what}"
        return f"{line}\n{'':<9}{'':<17}do: {self.do}" if self.do else line


def ok(subject: str, what: str, where: str = "") -> Result:
    return Result("ok", subject, what, where)


def warning(subject: str, what: str, where: str = "", do: str = "") -> Result:
    return Result("warning", subject, what, where, do)


def fault(subject: str, what: str, where: str = "", do: str = "") -> Result:
    return Result("fault", subject, what, where, do)


def of_error(subject: str, error: QaribError, state: State = "fault") -> Result:
    """The line for an error of another part of the project."""
    return Result(state, subject, error.what, error.where or "", error.do or "")


def is_broken(results: Sequence[Result]) -> bool:
    return any(result.state == "fault" for result in results)


def summary(results: Sequence[Result]) -> str:
    """How many faults and warnings there are."""
    count = Counter(result.state for result in results)
    return f"{counted(count['fault'], 'fault')}, {counted(count['warning'], 'warning')}, {count['ok']} ok"
