"""Reads labelled tasks from the user's files, and checks them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qarib_tasks.config.evaluation import TaskConfig
from qarib_tasks.corpus.allowed import AllowedSources, limited
from qarib_tasks.corpus.reading.read import read
from qarib_tasks.corpus.reading.records import LABEL_END
from qarib_tasks.corpus.sources import fetch, list_files
from qarib_tasks.counting import counted
from qarib_tasks.errors import ConfigError, Faults, InputError, StorageError
from qarib_tasks.labelled.labels import is_seen, label_key, log_labels, merged_labels, named
from qarib_tasks.labelled.task import LabelledPart, LabelledTask
from qarib_tasks.storage.checked_file import CheckedFile

log = logging.getLogger(__name__)
_ORDER_SEED = 0x6F72646572  # "order"
_TEST_SEED = 0x74657374  # "test": independent of the order


@dataclass(frozen=True)
class _Row:
    """Attributes:
    key: of the normalized text; texts that count as the same have the same one.
    place: the hash that orders the texts.
    """

    place: int
    text: str
    label: str
    key: int


def read_tasks(
    tasks: Sequence[TaskConfig], cache: Path, allowed: AllowedSources | None = None
) -> list[LabelledTask]:
    """Read and check every task. One error lists the problems of all.

    Args:
        cache: folder for fetched files.
        allowed: where files may be; None for anywhere.

    Raises:
        ConfigError, InputError, StorageError, CorruptError: a file or a label of a task cannot be used.
    """
    faults, found = Faults(), []
    for task in tasks:
        with faults.kept():
            found.append(read_task(task, cache, allowed))
    faults.raise_all(lambda error: not isinstance(error, StorageError))
    return found


def read_task(config: TaskConfig, cache: Path, allowed: AllowedSources | None = None) -> LabelledTask:
    """Read and check one task, and log its labels and counts. The result does not depend on the files' order.

    Texts without text or label are left out and counted, as are training texts that are test texts too.

    Raises:
        ConfigError, InputError, StorageError, CorruptError: a file cannot be used (with path and line), or
            the labels cannot.
    """
    where = f"task {config.name}"
    left_out, faults = Counter[str](), Faults()
    train: list[_Row] = []
    test: list[_Row] = []
    with faults.kept():
        train = _rows(config, config.train, cache, allowed, left_out)
    if config.test:
        with faults.kept():
            test = _rows(config, config.test, cache, allowed, left_out)
    faults.raise_all(lambda error: not isinstance(error, StorageError))
    if config.test:
        tested = {row.key for row in test}
        repeated = sum(row.key in tested for row in train)
        train = [row for row in train if row.key not in tested]
        if repeated:
            left_out["in_test"] = repeated
            log.warning("%s: %s training texts are test texts too, and are left out", where, f"{repeated:,}")
    else:
        train, test = _divided(train, config.test_share)
    if config.limit:
        train, test = train[: config.limit], test[: config.limit]
    spellings = merged_labels(Counter(row.label for row in (*train, *test)), where)
    _check(config, _counts(train, spellings), _counts(test, spellings))
    _warn_of_contradictions([*train, *test], spellings, where)
    labels = tuple(sorted({spellings[row.label] for row in train}))
    numbers = {label: number for number, label in enumerate(labels)}

    def part(rows: list[_Row]) -> LabelledPart:
        return LabelledPart(
            tuple(row.text for row in rows), tuple(numbers[spellings[row.label]] for row in rows)
        )

    by_key = {label_key(label): label for label in labels}
    task = LabelledTask(
        name=config.name,
        metric=config.metric,
        labels=labels,
        train=part(train),
        test=part(test),
        positive=by_key[label_key(config.positive)] if config.positive else "",
        negative=by_key[label_key(config.negative)] if config.negative else "",
        left_out=dict(sorted(left_out.items())),
    )
    log_labels(task)
    return task


def _rows(
    config: TaskConfig, path: str, cache: Path, allowed: AllowedSources | None, left_out: Counter[str]
) -> list[_Row]:
    """Return the texts of one of the task's addresses that have a label, in the order of a hash."""
    source = limited(config.source(path), allowed)
    pairs: list[tuple[str, str]] = []
    counts = Counter[str]()
    for file in list_files(source, allowed):
        local = fetch(file, cache, allowed=allowed)
        with CheckedFile(local.path, local.where) as opened:
            for lines in read(source, local.path, local.where, counts, None, opened):
                for line in lines:
                    label, end, text = line.encode(errors="replace").decode().partition(LABEL_END)
                    if end:
                        # What shows nothing is no text, and no label.
                        pairs.append((_shown(label), _shown(text)))
                    elif line:  # Of a web page, which has no fields.
                        what, do = source.without_fields
                        raise ConfigError(what, where=file.where, do=do)
            local.read(opened)
    total = len(pairs)
    if not total:
        raise InputError("no records", where=path, do="Check the file of the task")
    texts = [(label, text) for label, text in pairs if text]
    labelled = [(label, text) for label, text in texts if label]
    empty, unlabelled = total - len(texts), len(texts) - len(labelled)
    for count, what, field, setting in (
        (empty, "text", config.text, source.text_setting),
        (unlabelled, "label", config.label, source.group_setting),
    ):
        if count == total:
            raise InputError(
                f"none of {counted(total, 'record')} has a {what} in field {field!r}",
                where=path,
                do=f"Correct `{setting}` of the task {config.name}",
            )
        if count:
            name = "empty" if what == "text" else "unlabelled"
            left_out[name] += count
            log.warning(
                "task %s: %s: %s of %s records (%.1f%%) have no %s in field %r, and are left out",
                config.name,
                path,
                f"{count:,}",
                f"{total:,}",
                100 * count / total,
                what,
                field,
            )
    if not labelled:
        raise InputError(
            f"none of {counted(total, 'record')} has both a text and a label",
            where=path,
            do=f"Correct the file of the task {config.name}",
        )
    if counts["skipped"]:
        left_out["unreadable"] += counts["skipped"]
        log.warning("task %s: %s: %d unreadable records are left out", config.name, path, counts["skipped"])
    return _ordered(labelled)


def _shown(value: str) -> str:
    return value if any(map(is_seen, value)) else ""


def _ordered(pairs: Sequence[tuple[str, str]]) -> list[_Row]:
    import numpy as np

    from qarib_tasks.corpus.deduplication import digest
    from qarib_tasks.corpus.sampling import spread
    from qarib_tasks.labelled.letters import Letters

    # A text of punctuation or emoji alone has no letters.
    keys = [digest([Letters(text).codes.tobytes() or text.encode()]) for _, text in pairs]
    places = spread(np.array(keys, dtype=np.uint64), _ORDER_SEED).tolist()
    rows = [
        _Row(place, text, label, key) for place, key, (label, text) in zip(places, keys, pairs, strict=True)
    ]
    return sorted(rows, key=lambda row: (row.place, row.text, row.label))


def _divided(rows: list[_Row], test_share: float) -> tuple[list[_Row], list[_Row]]:
    """Return the training and the test texts: a hash of its normalized text decides where each belongs."""
    import numpy as np

    from qarib_tasks.corpus.sampling import chosen

    held = chosen(np.array([row.key for row in rows], dtype=np.uint64), test_share, _TEST_SEED).tolist()
    return (
        [row for row, is_test in zip(rows, held, strict=True) if not is_test],
        [row for row, is_test in zip(rows, held, strict=True) if is_test],
    )


def _counts(rows: Sequence[_Row], spellings: dict[str, str]) -> Counter[str]:
    return Counter(spellings[row.label] for row in rows)


def _warn_of_contradictions(rows: Sequence[_Row], spellings: dict[str, str], where: str) -> None:
    """Warn of equal texts with different labels: no model can be right on all of them."""
    labels: dict[int, set[str]] = {}
    for row in rows:
        labels.setdefault(row.key, set()).add(spellings[row.label])
    texts = {row.key: row.text for row in rows if len(labels[row.key]) > 1}
    if texts:
        key, text = next(iter(texts.items()))
        log.warning(
            "%s: %s with different labels, for example %r (%s)",
            where, counted(len(texts), "text"), text, ", ".join(map(repr, sorted(labels[key]))),
        )  # fmt: skip


def _check(config: TaskConfig, train: Counter[str], test: Counter[str]) -> None:
    """Raise one error that lists all problems of the labels, and warn of those that are no error."""
    faults = Faults()
    where = f"{config.train}, task {config.name}"
    with faults.kept():
        _check_parts(config, train, test, where)
    with faults.kept():
        if unseen := {label: count for label, count in test.items() if label not in train}:
            raise InputError(
                f"no training text has the label of these test texts: {named(unseen)}",
                where=f"{config.test or config.train}, task {config.name}",
                do="Correct the labels, add training texts, or leave out these test texts",
            )
    with faults.kept():
        single = {label: count for label, count in train.items() if count == 1}
        if single and len(train) > 1:
            raise InputError(
                f"labels with one training text, from which nothing can be learned: {named(single)}",
                where=where,
                do="Correct the label, add training texts, or leave out this one",
            )
    with faults.kept():
        known = {label_key(label) for label in train}
        wrong = [
            label for label in (config.positive, config.negative) if label and label_key(label) not in known
        ]
        if wrong:
            raise ConfigError(
                f"no training text has the label {' or '.join(map(repr, wrong))}",
                where=where,
                do=f"Set `positive` and `negative` to labels of the task: {named(train)}",
            )
    faults.raise_all()
    if missing := {label: count for label, count in train.items() if label not in test}:
        log.warning("%s: no test text has the label of these training texts: %s", where, named(missing))


def _check_parts(config: TaskConfig, train: Counter[str], test: Counter[str], where: str) -> None:
    if not train:
        raise InputError(
            "no training texts are left",
            where=where,
            do="Set `train` and `test` to different files"
            if config.test
            else "Add texts, or lower `test_share`",
        )
    if not test:
        raise InputError("no test texts", where=where, do="Add texts, raise `test_share`, or set `test`")
    if len(train) == 1:
        raise InputError(
            f"all training texts have the label {next(iter(train))!r}",
            where=where,
            do="Correct `label`, or add texts with other labels",
        )
