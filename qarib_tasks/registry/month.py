"""A month as a partition: its key, such as 2026-10, when it ends, and the addresses of its files."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, tzinfo

from qarib_tasks.errors import ConfigError

KEY_FORMAT = "%Y-%m"
KEY = re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])", re.ASCII)
# A pattern for all days of a month: which days have files is checked one by one.
ANY_DAY = "[0-3][0-9]"


@dataclass(frozen=True, order=True)
class Month:
    """A calendar month. Months are in order; its text is its key."""

    year: int
    number: int

    @classmethod
    def parse(cls, key: str, where: str) -> Month:
        """Read a key.

        Raises:
            ConfigError: it is not a month. `where` says where it stands.
        """
        found = KEY.fullmatch(key)
        if not found or int(found[1]) == 0:
            raise ConfigError(f"{key!r} is not a month", where=where, do="Write it as 2026-02")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.year:04}-{self.number:02}"

    @property
    def next(self) -> Month:
        """The month after this one."""
        return Month(self.year + self.number // 12, self.number % 12 + 1)

    @property
    def days(self) -> list[str]:
        """All of its days, such as 2026-10-01."""
        count = calendar.monthrange(self.year, self.number)[1]
        return [f"{self}-{day:02}" for day in range(1, count + 1)]

    def start(self, timezone: tzinfo) -> datetime:
        """When it begins. Where clocks skip that midnight, it is the moment to which they skip."""
        return datetime(self.year, self.number, 1, tzinfo=timezone)

    def through(self, last: Month) -> Iterator[Month]:
        """This month and those after it up to `last`; none if `last` is earlier."""
        month = self
        while month <= last:
            yield month
            month = month.next

    def address(self, address: str) -> str:
        """Fill in the date fields of an address. {day} stands for all days.

        Raises:
            ConfigError: a web address has {day}.
        """
        if "{day}" in address and address.startswith(("http://", "https://")):
            raise ConfigError(
                "a web address cannot stand for all days of a month",
                where=address,
                do="Use {month}, or files in a bucket or a folder",
            )
        return self._filled(address, f"{self}-{ANY_DAY}")

    def addresses(self, address: str) -> list[str]:
        """The addresses that must have files before the month is complete: with {day}, one for each day."""
        days = self.days if "{day}" in address else [""]
        return [self._filled(address, day) for day in days]

    def _filled(self, address: str, day: str) -> str:
        values = {"{year}": f"{self.year:04}", "{month}": str(self), "{day}": day}
        for field, value in values.items():
            address = address.replace(field, value)
        return address


def has_month(address: str) -> bool:
    """Whether an address names the files of one month."""
    return "{month}" in address or "{day}" in address
