"""Only regular files are opened, and no more is read than allowed."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from qarib_tasks.errors import CorruptError, InputError
from qarib_tasks.storage.regular_files import read_regular, read_settings_text


def test_a_regular_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"12345")
    assert read_regular(path, 5, within=tmp_path) == b"12345"
    with pytest.raises(CorruptError, match=r"a\.json: larger than 4 bytes"):
        read_regular(path, 4)


def test_the_text_of_settings(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"a: 1\r\nb: \xff\rc: 2\n")
    assert read_settings_text(path) == path.read_text("utf-8", "replace") == "a: 1\nb: \ufffd\nc: 2\n"
    with path.open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(CorruptError, match=r"config\.yaml: larger than"):
        read_settings_text(path)


def test_what_has_no_end_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "endless").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
    for name in ("pipe", "endless", "socket", "."):
        with pytest.raises(InputError, match="is not a regular file"):
            read_regular(tmp_path / name, 100)


def test_no_link_leads_out_of_the_folder(tmp_path: Path) -> None:
    folder, secret = tmp_path / "folder", tmp_path / "secret"
    folder.mkdir()
    secret.write_text("secret")
    (folder / "link").symlink_to(secret)
    (folder / "up").symlink_to(tmp_path)
    (folder / "own").write_text("own")
    (folder / "inner").symlink_to(folder / "own")
    for name in ("link", "up/secret", "../secret"):
        with pytest.raises(InputError, match="leads out of the folder"):
            read_regular(folder / name, 100, within=folder)
    assert read_regular(folder / "inner", 100, within=folder) == b"own"
    (tmp_path / "folder2").mkdir()
    (tmp_path / "folder2" / "a").write_text("a")
    with pytest.raises(InputError, match="leads out of the folder"):
        read_regular(tmp_path / "folder2" / "a", 100, within=folder)
