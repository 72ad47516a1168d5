"""Files that systems and programs put beside others, and that hold no text."""

from __future__ import annotations

import re

# In lower case.
_NAMES = {
    ".ds_store", "thumbs.db", "desktop.ini", ".directory", "icon\r", "_success", "_metadata",
    "_common_metadata", "_last_checkpoint", ".gitignore", ".gitattributes", ".gitkeep", ".keep",
    "dataset_info.json", "dataset_infos.json", "dataset_dict.json",
    "md5sums", "sha1sums", "sha256sums", "sha512sums",
}  # fmt: skip
_BEGINNINGS = ("._", "_committed", "_started", ".nfs", "~$")
_ENDINGS = ("_$folder$", ".pyc", ".sig", ".md5", ".sha1", ".sha256", ".sha512")
_BOTH = ((".", ".crc"), ("ehthumbs", ".db"))
_FOLDERS = {
    "__macosx", ".trashes", ".spotlight-v100", ".fseventsd", "$recycle.bin", "system volume information",
    "@eadir", "lost+found", "_delta_log", "_spark_metadata", "_symlink_format_manifest", "_temporary",
    "__pycache__",
}  # fmt: skip
_CONTENTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"(?:[0-9a-fA-F]{32,128} [ *][!-~]+(?:\r?\n|\Z))+"), "checksums"),
    (re.compile(rb"-----BEGIN PGP SIGNATURE-----\r?\n"), "a signature"),
    (re.compile(rb"\{[^{}]*\"_data_files\"\s*:\s*\["), "a file of the library datasets"),
)


def is_harmless(name: str) -> bool:
    """Whether a file is one that a system or program puts beside others, and that holds no text."""
    parts = _parts(name.lower())
    file = parts[-1]
    if not _FOLDERS.isdisjoint(parts) or file in _NAMES:
        return True
    if file.startswith(_BEGINNINGS) or file.endswith(_ENDINGS):
        return True
    return any(file.startswith(start) and file[len(start) :].endswith(end) for start, end in _BOTH)


def harmless_content(head: bytes) -> str:
    """Return what a file is that holds no text, by its first bytes, or ""."""
    return next((kind for pattern, kind in _CONTENTS if pattern.match(head)), "")


def is_hidden(name: str) -> bool:
    """Whether a part of a path in an archive begins with a dot."""
    return any(part.startswith(".") and part not in (".", "..") for part in _parts(name))


def _parts(name: str) -> list[str]:
    return name.replace("\\", "/").split("/")
