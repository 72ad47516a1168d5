"""The one rule about files that exist: which ones are ours, and what a step may do to each.

A user's files are never replaced or removed. Every step follows this rule:

1. Its side files are named after the full name of its output (`data.txt` has `data.txt.report.html`), so two
   outputs never share one.
2. A file is ours if the output's manifest lists it. Before a step writes anything, it calls `check_outputs`
   and `owned`, which refuse to write over other files.
3. It writes with `Staged`: everything under temporary names, put in place at the end. Until then, the earlier
   outputs and their manifest stay. Just before, a manifest with the state running lists the new files too, so
   a killed step can be run again.
4. A file of ours that the user edited is kept under another name, see `keep_aside`.
5. A folder is ours if we made it, see `working_folder.py`. Only what we made is removed from it.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from types import TracebackType

from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.storage.files import (
    atomic_path,
    check_name,
    crc32c_of,
    hidden_name,
    name_output,
    put_in_place,
    remove_all_leftovers,
    write_text,
)
from qarib_tasks.storage.manifest import FileRecord, Kind, Manifest, is_damaged_manifest
from qarib_tasks.storage.records.aside import CHANGED, KEPT, keep_aside, set_aside
from qarib_tasks.storage.side_files import fetched_folder_of, working_folder_of

log = logging.getLogger(__name__)
OTHER_OUTPUT = "Choose another output, or move this file"
_WHAT = {
    "corpus": "a corpus",
    "vocabulary": "a vocabulary",
    "shards": "a folder of shards",
    "shard": "a converted shard",
    "dataset": "a dataset",
    "model": "a model",
}


def check_outputs(outputs: Sequence[Path], inputs: Iterable[Path] = ()) -> None:
    """Check, before anything is written, that the outputs are different files and that none is an input.

    Raises:
        InputError: an output is a folder, is below a file, is given twice, is also an input, or has a name
            that is not UTF-8. Links are followed.
    """
    places: dict[object, Path] = {}
    existing: dict[tuple[int, int], Path] = {}
    for out in outputs:
        check_name(str(out))
        for folder in out.absolute().parents:
            if os.path.lexists(folder):
                if not folder.is_dir():
                    raise InputError("is a file, not a folder", where=folder, do="Choose another output")
                break
        if out.is_dir():
            raise InputError("is a folder, not a file", where=out, do="Choose another output")
        place: object = place_of(out)
        if out.exists():
            about = out.stat()
            if not stat.S_ISREG(about.st_mode):
                raise InputError("is not a regular file", where=out, do="Choose another output")
            existing[about.st_dev, about.st_ino] = out
            place = about.st_dev, about.st_ino
        if other := places.get(place):
            raise InputError(f"is the same file as the output {other}", where=out, do="Choose another output")
        places[place] = out
    for path in inputs if existing else ():
        if same := existing.get(identity(path)):
            what = "the output is also an input" if same == path else f"the output is also the input {path}"
            raise InputError(what, where=same, do="Choose another output")


def check_temporary_folders(out: Path, paths: Iterable[Path]) -> None:
    """Check that no source or output is in a folder that is made, and maybe removed, on the way to `out`.

    Raises:
        InputError: one is.
    """
    folders = [folder.resolve() for folder in (working_folder_of(out), fetched_folder_of(out))]
    for path in paths:
        place = place_of(path)
        if any(place.is_relative_to(folder) for folder in folders):
            what = f"the path belongs to the temporary folders of the output {out}"
            raise InputError(what, where=path, do="Choose another path, or move this file")


def identity(path: Path) -> tuple[int, int]:
    """What two paths of the same file have in common; links are followed. (-1, -1) for no file."""
    try:
        about = path.stat()
    except OSError:
        return -1, -1
    return about.st_dev, about.st_ino


def place_of(path: Path) -> Path:
    """Return the path without links to folders; a link itself stays one."""
    return path.parent.resolve() / path.name


@dataclass(frozen=True)
class Earlier:
    """What the manifest of an earlier run says about the files that exist.

    Attributes:
        path: the manifest's path.
        manifest: in any state; None if there is none that can be read.
        unlisted: files that the manifest does not list are ours too: it is damaged, or its run was killed and
            did not list any.
        damage: what is wrong in a manifest of ours that cannot be read.
    """

    path: Path
    manifest: Manifest | None = None
    unlisted: bool = False
    damage: str = ""

    @classmethod
    def read(cls, path: Path) -> Earlier:
        """Read the manifest at this path.

        Raises:
            InputError: the file there is not a manifest of ours, or cannot be read.
        """
        if not os.path.lexists(path):
            return cls(path)
        try:
            manifest = Manifest.read(path)
        except OSError as error:
            do = "Change the permissions, or choose another output"
            raise InputError(f"cannot be read: {error.strerror}", where=path, do=do) from None
        except (InputError, CorruptError) as error:
            if is_damaged_manifest(path):
                return cls(path, unlisted=True, damage=error.what)
            raise InputError("exists and is not a manifest of qarib", where=path, do=OTHER_OUTPUT) from None
        return cls(path, manifest, unlisted=manifest.state == "running" and not manifest.outputs)

    def keep_damaged(self) -> None:
        """Keep a damaged manifest under another name too: it is about to be written again."""
        if self.damage:
            set_aside(self.path, self.damage, "its step is done again", stays=True)

    @property
    def is_complete(self) -> bool:
        return self.manifest is not None and self.manifest.state == "complete"

    @property
    def listed(self) -> list[Path]:
        """The files that the manifest lists, also those that no longer exist."""
        return [self.path.parent / record.name for record in self.manifest.outputs] if self.manifest else []

    def records(self, path: Path) -> list[FileRecord]:
        """The records of a file: none if it is not listed, several if it may have one of several contents."""
        name = recorded_name(path, self.path)
        return [record for record in self.manifest.outputs if record.name == name] if self.manifest else []

    def owns(self, path: Path) -> bool:
        """Whether the file is ours."""
        return self.unlisted or bool(self.records(path))


def owned(
    kind: Kind,
    manifest: Path,
    outputs: Sequence[Path],
    *,
    named: Collection[Path] = (),
    adopt: bool = False,
) -> Earlier:
    """Check, before anything is written, that every file that a step would replace is ours.

    Args:
        kind: of what the step makes.
        manifest: path of the step's manifest.
        outputs: the files that the step writes.
        named: those of them that the user named: an empty file, as `mktemp` makes it, may be replaced.
        adopt: the folder is ours: files in it that no manifest lists are what an earlier version left when it
            was killed. `Staged` keeps them under another name if it would write something else. A damaged
            manifest is kept so, too.

    Raises:
        InputError: a file exists and is not ours, or another step made it.
    """
    try:
        earlier = Earlier.read(manifest)
    except InputError:
        if not adopt:
            raise
        keep_aside(manifest)
        manifest.unlink(missing_ok=True)
        earlier = Earlier(manifest)
    other = earlier.manifest
    if other and other.kind != kind and (existing := next(filter(os.path.lexists, outputs), None)):
        raise InputError(
            f"is part of {_WHAT[other.kind]} that qarib made, not of {_WHAT[kind]}",
            where=existing,
            do=OTHER_OUTPUT,
        )
    for out in outputs:
        if not os.path.lexists(out) or adopt or earlier.owns(out) or (out in named and is_empty(out)):
            continue
        raise InputError("exists and was not made by qarib", where=out, do=OTHER_OUTPUT)
    earlier.keep_damaged()
    return earlier


def made_with(manifest: Path, outputs: Sequence[Path], folders: Iterable[Path]) -> Callable[[Path], bool]:
    """Return a function that tells whether a file is one that an earlier run of a step made.

    So is a file that `keep_aside` renamed: most of its content is of that run.

    Args:
        outputs: of the step, see `owned`.
        folders: its working folders, those that are ours.
    """
    earlier = Earlier.read(manifest)
    own = [manifest, *(path for path in outputs if earlier.owns(path)), *earlier.listed]
    found = set(map(identity, filter(Path.exists, own)))
    within = [folder.resolve() for folder in folders]
    names = set(map(place_of, (manifest, *outputs, *own)))

    def is_made(path: Path) -> bool:
        kept = KEPT.fullmatch(path.name)
        if kept and place_of(path.with_name(kept["name"])) in names:
            return True
        return identity(path) in found or any(map(path.resolve().is_relative_to, within))

    return is_made


def is_empty(path: Path) -> bool:
    """Whether it is a regular file without bytes."""
    about = path.lstat()
    return stat.S_ISREG(about.st_mode) and not about.st_size


def recorded_name(path: Path, manifest: Path) -> str:
    """The name of an output in its manifest: relative to the manifest's folder."""
    if path.parent == manifest.parent:
        return path.name
    if path.is_relative_to(manifest.parent):
        return path.relative_to(manifest.parent).as_posix()
    return os.path.relpath(place_of(path), manifest.parent.resolve())


def write_kept(path: Path, text: str, earlier: Earlier) -> None:
    """Write a small file atomically. Other content that no manifest lists is kept, see `keep_aside`."""
    if os.path.lexists(path) and not is_empty(path) and not is_one_of(path, earlier.records(path)):
        if path.is_file() and not path.is_symlink() and path.read_bytes() == text.encode():
            return
        keep_aside(path)
    write_text(path, text)


class Staged:
    """Writes the outputs of a step under temporary names, and puts them in place together.

    Without `commit`, everything is as before.

    Args:
        manifest: path of the step's manifest, see `owned`.
        leftovers: see `files.temporary_of`.
    """

    def __init__(self, manifest: Path, *, leftovers: bool = True) -> None:
        self._manifest = manifest
        self._leftovers = leftovers
        self._files: dict[Path, Path] = {}
        self._folders: set[Path] = set()
        self._made: list[Path] = []

    def __enter__(self) -> Staged:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, OSError):
            name_output(error, {temporary: out for out, temporary in self._files.items()})
        for temporary in self._files.values():
            temporary.unlink(missing_ok=True)
        if error:
            for folder in reversed(self._made):
                with suppress(OSError):  # It has files.
                    folder.rmdir()

    def path(self, out: Path) -> Path:
        """The temporary path to write the output `out` to; its folder exists."""
        if out not in self._files:
            if out.parent not in self._folders:
                new = takewhile(lambda folder: not folder.exists(), (out.parent, *out.parent.parents))
                self._made += reversed(list(new))
                out.parent.mkdir(parents=True, exist_ok=True)
                if self._leftovers:
                    remove_all_leftovers(out.parent)
                self._folders.add(out.parent)
            self._files[out] = hidden_name(out)
        return self._files[out]

    def move(self, out: Path, other: Path) -> None:
        """Put what was written for `out` at another path of the same folder."""
        self._files[other] = self._files.pop(out)

    def record(self, out: Path) -> FileRecord:
        """The record of a written output; it is read once."""
        return FileRecord.of(self._files[out], recorded_name(out, self._manifest))

    def commit(
        self,
        manifest: Manifest,
        *,
        keep_changed: bool = True,
        stale: Iterable[Path] = (),
        keep_stale: bool = False,
    ) -> Manifest:
        """Put the outputs in place, and write the manifest last.

        Args:
            manifest: lists all outputs.
            keep_changed: keep outputs of an earlier run that were edited since, see `keep_aside`. False for
                what only machines write: a difference is damage.
            stale: files of an earlier run to remove; those that are not ours stay.
            keep_stale: keep them under another name instead.

        Returns:
            the manifest.
        """
        earlier = Earlier.read(self._manifest)
        earlier.keep_damaged()
        before = list(earlier.manifest.outputs) if earlier.manifest else []
        stale = [path for path in stale if earlier.records(path)]
        edited = [path for path in stale if keep_stale or not is_one_of(path, earlier.records(path))]
        new = Earlier(self._manifest, manifest)
        changed = []
        for out in self._files:
            if os.path.lexists(out) and not is_empty(out):
                known = earlier.records(out)
                if not (known and not keep_changed) and not is_one_of(out, known + new.records(out)):
                    changed.append(out)
        replace(
            manifest,
            state="running",
            reason="the outputs are being put in place",
            outputs=list(dict.fromkeys([*before, *manifest.outputs])),
            statistics={},
            sample=(),
        ).write(self._manifest, leftovers=self._leftovers)
        with atomic_path(self._manifest, leftovers=self._leftovers) as complete:
            # Before anything is replaced: on a full disk, it could not be written afterwards.
            complete.write_text(manifest.text(), encoding="utf-8", newline="\n")
            for path in [*changed, *(edited if keep_changed else ())]:
                keep_aside(path, "from an earlier run" if path in stale and keep_stale else CHANGED)
            for out, temporary in self._files.items():
                put_in_place(temporary, out)
            for path in stale:
                if not keep_stale:
                    log.warning("%s: removed, it is from an earlier run", path)
                path.unlink(missing_ok=True)
        return manifest


def is_one_of(path: Path, records: Sequence[FileRecord]) -> bool:
    """Whether the file has one of the recorded contents. It is read only if the size fits.

    A symbolic link never is: we make none.
    """
    if path.is_symlink() or not path.is_file():
        return False
    size = path.stat().st_size
    alike = [record for record in records if record.bytes == size]
    return bool(alike) and crc32c_of(path) in {record.crc32c for record in alike}
