"""The images of scripts/compose_test.py: which base images it uses, their build, and what is in them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence

import pin_images
from airflow_api import StackError
from local_stack import REPOSITORY

IMAGE = "qarib:compose-test"
MOST_BYTES = 4_000_000_000
# By the name of a base image, the environment variable that chooses another one.
IMAGE_SETTINGS = {
    "python": "QARIB_PYTHON_IMAGE",
    "postgres": "QARIB_POSTGRES_IMAGE",
    "redis": "QARIB_REDIS_IMAGE",
    "fsouza/fake-gcs-server": "QARIB_GCS_IMAGE",
}
STARTED = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:5.0f} s] {text}", flush=True)


def require(holds: object, what: str) -> None:
    if not holds:
        raise StackError(what)


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def base_images() -> dict[str, str]:
    """Return the settings of the base images: what this engine has by their tag, or else the pinned ones.

    The test runs without a registry, and with images of your own. A setting in the environment stays.
    """
    chosen = {}
    for name in pin_images.FILES:
        for found in pin_images.PINNED.finditer((REPOSITORY / name).read_text(encoding="utf-8")):
            image = f"{found['name']}:{found['tag']}"
            local = docker("images", "--quiet", image).strip()
            chosen[IMAGE_SETTINGS[found["name"]]] = image if local else found[0]
    chosen |= {setting: os.environ[setting] for setting in chosen if os.environ.get(setting)}
    for image in chosen.values():
        say(f"base image {image}")
    return chosen


def build(python_image: str) -> None:
    for target, tag in (("full", IMAGE), ("airflow", f"{IMAGE}-airflow")):
        command = ["docker", "build", "--quiet", "--target", target, "--tag", tag]
        subprocess.run(
            [*command, "--build-arg", f"PYTHON_IMAGE={python_image}", "."],
            cwd=REPOSITORY,
            env=os.environ | {"DOCKER_BUILDKIT": "1"},
            stdout=subprocess.DEVNULL,
            check=True,
        )
        size = int(docker("image", "inspect", "--format", "{{.Size}}", tag))
        say(f"image {tag}: {size / 1e9:.2f} GB")
        require(size < MOST_BYTES, f"image {tag} is larger than {MOST_BYTES / 1e9:g} GB")
        check_sbom(tag, ("airflow", "train_cpu") if target == "full" else ("airflow",))
    tools = docker(
        "run",
        "--rm",
        "--network",
        "none",
        IMAGE,
        "sh",
        "-c",
        "for tool in gcc cc g++ clang make; do command -v $tool; done; true",
    )
    require(not tools, f"the image has a compiler: {tools}")
    require(
        docker("run", "--rm", "--network", "none", IMAGE, "id", "-u") == "50000\n", "the image runs as root"
    )


def check_sbom(tag: str, locks: Sequence[str]) -> None:
    """Compare the image's list of its packages with the locks."""
    options = ("--rm", "--interactive", "--network=none", f"--volume={REPOSITORY / 'requirements'}:/locks:ro")
    command = ["docker", "run", *options, tag, "python", "-", *(f"/locks/{lock}.txt" for lock in locks)]
    script = (REPOSITORY / "scripts" / "compose" / "check_sbom.py").read_text(encoding="utf-8")
    ended = subprocess.run(command, input=script, stdout=subprocess.PIPE, text=True, check=True)
    differ = json.loads(ended.stdout)
    names = {kind: {one.partition("==")[0] for one in found} for kind, found in differ.items()}
    # The full image removes a library of the compiler; the other one has the installers.
    allowed = {"left_out": {"libclang"}, "added": {"pip", "uv"}}
    require(all(names[kind] <= allowed[kind] for kind in names), f"{tag}: the SBOM differs: {differ}")
    say(f"image {tag}: its SBOM lists what the locks list")
