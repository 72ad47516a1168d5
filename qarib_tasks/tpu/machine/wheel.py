"""Builds a wheel of this package, so that a TPU's machine runs exactly this code.

No build tool is used: it would need the project file and the network, and produce different bytes each time.
The wheel lists no dependencies: the machine installs them from pinned requirements.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import qarib_tasks
from qarib_tasks.storage.files import atomic_path
from qarib_tasks.storage.records.made_by import FILE, code_version

NAME = f"qarib-{qarib_tasks.__version__}-py3-none-any.whl"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build_wheel(folder: Path) -> Path:
    """Write the wheel; the same files of the same commit give the same bytes.

    Returns:
        the path of the wheel in `folder`.
    """
    root = Path(qarib_tasks.__file__).parent
    files = {
        f"{root.name}/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    if code := code_version():
        files[f"{root.name}/{FILE}"] = f"{code}\n".encode()
    info = f"qarib-{qarib_tasks.__version__}.dist-info"
    version = f"Name: qarib\nVersion: {qarib_tasks.__version__}\n"
    files |= {
        f"{info}/METADATA": f"Metadata-Version: 2.1\n{version}".encode(),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: qarib\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": b"[console_scripts]\nqarib = qarib_tasks.cli.main:main\n",
    }
    lines = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in files.items()]
    files[f"{info}/RECORD"] = ("\n".join([*lines, f"{info}/RECORD,,"]) + "\n").encode()
    with atomic_path(folder / NAME) as temporary, ZipFile(temporary, "w") as archive:
        for name, data in files.items():
            archive.writestr(ZipInfo(name, _EPOCH), data, ZIP_DEFLATED)
    return folder / NAME


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
