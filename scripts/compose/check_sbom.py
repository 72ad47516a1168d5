"""Print as JSON how an image's SBOM differs from the locks that are its arguments.

`compose_test.py` runs this in the image. `left_out` has what the locks name for this platform and the SBOM
does not list, `added` the opposite, both as `name==version`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SBOM = Path("/opt/venv/sbom.json")


def wanted(lock: Path) -> set[str]:
    found = set()
    for line in lock.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
        if not line.startswith("#"):
            requirement = Requirement(line.partition("--hash")[0].strip())
            if requirement.marker is None or requirement.marker.evaluate():
                found.add(f"{canonicalize_name(requirement.name)}{requirement.specifier}")
    return found


def listed() -> set[str]:
    components = json.loads(SBOM.read_text(encoding="utf-8"))["components"]
    return {f"{canonicalize_name(one['name'])}=={one['version']}" for one in components}


if __name__ == "__main__":
    locked = set().union(*(wanted(Path(lock)) for lock in sys.argv[1:]))
    print(json.dumps({"left_out": sorted(locked - listed()), "added": sorted(listed() - locked)}))
