"""Figures as the page's script writes them, computed apart from it."""

from __future__ import annotations

import re
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal


def fixed(value: float | None, digits: int = 3) -> str:
    if value is None:
        return "–"
    return str(Decimal(value).quantize(Decimal(1).scaleb(-digits), ROUND_HALF_UP))


def count(value: float | None) -> str:
    return "–" if value is None else f"{int(fixed(value, 0)):,}"


def counted(value: int, unit: str) -> str:
    return f"{count(value)} {unit}{'' if value == 1 else 's'}"


def short(value: float) -> str:
    if value < 10:
        return f"{float(f'{value:.2g}'):g}"
    if value < 9_999.5:
        return count(value)
    for sign, size in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= size:
            return fixed(value / size, 1).removesuffix(".0") + sign
    raise AssertionError


def percent(value: float | None, digits: int = 1) -> str:
    if value is None:
        return "–"
    text, least = fixed(100 * value, digits), 10**-digits
    if value > 0 and float(text) == 0:
        return f"<{least:.{digits}f}%"
    return f">{100 - least:.{digits}f}%" if value < 1 and float(text) == 100 else f"{text}%"


def size(value: float) -> str:
    unit = 0
    while value >= 999.5 and unit < 4:
        value, unit = value / 1000, unit + 1
    return f"{fixed(value, 0 if value >= 99.95 or not unit else 1)} {('B', 'KB', 'MB', 'GB', 'TB')[unit]}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    if seconds < 9.95:
        return f"{fixed(seconds, 1)} s"
    if seconds < 90:
        return f"{fixed(seconds, 0)} s"
    minutes = int(fixed(seconds / 60, 0))
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def when(stamp: str) -> str:
    time = datetime.fromisoformat(stamp).astimezone()
    month = {9: "Sept"}.get(time.month, time.strftime("%b"))
    return f"{time.day} {month} {time:%Y, %H:%M %Z}"


def power(value: float) -> str:
    """3.3e-7."""
    return re.sub("e([-+])0?", r"e\1", f"{value:.1e}")
