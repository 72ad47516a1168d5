"""Say what `make install` is about to do, and fail if the disk has no room for it.

python scripts/install_room.py .venv requirements/dev.txt
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

# Of the packages in requirements/dev.txt, as `make install` prints it at its end.
GIGABYTES = 4.5


def main(folder: Path, lock: Path, needed: float = GIGABYTES) -> int:
    """Return the exit status: 1 if there is no room."""
    packages = sum("==" in line and not line[0].isspace() for line in lock.read_text().splitlines() if line)
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    print(
        f"Installing {packages} packages into {folder}: about {needed} GB. This takes a minute or more, "
        "by the speed of the network."
    )
    if free < needed:
        print(
            f"{existing} has only {free:.1f} GB free. Make room, or name another folder: make install VENV="
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
