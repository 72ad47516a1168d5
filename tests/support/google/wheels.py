"""A wheelhouse and its lock file, each wheel a few bytes."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

JAX = "jax-0.10.2-py3-none-any.whl"
NUMPY = "numpy-2.4.6-cp312-cp312-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl"
BUILD = "python/20251014/cpython-3.12.12+20251014-x86_64-unknown-linux-gnu-install_only.tar.gz"
COMPLETE = {"uv": b"uv", JAX: b"jax", NUMPY: b"numpy", BUILD: b"python"}


def write_wheelhouse(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"./{name}")  # As `tar -cf wheelhouse.tar .` names it.
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return path


def write_lock(path: Path) -> Path:
    """jax and numpy as in `COMPLETE`, and a package for Windows only."""
    lines = ["# made for a test"]
    for name, data in ((JAX, b"jax"), (NUMPY, b"numpy")):
        project, version = name.split("-")[:2]
        digest = hashlib.sha256(data).hexdigest()
        lines += [
            f"{project}=={version} \\",
            f"    --hash=sha256:{'0' * 64} \\",
            f"    --hash=sha256:{digest}",
        ]
    lines.append('colorama==0.4.6 ; sys_platform == "win32" \\')
    lines.append(f"    --hash=sha256:{'1' * 64}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
