"""Where the runs of a deployment may keep and publish files: its workspaces, and prefixes of its buckets.

Who fills in a trigger form chooses among them. Who runs a command works as themselves: there, only a list in
the environment restricts them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from qarib_tasks.errors import ConfigError

WORKSPACES_VARIABLE, PREFIXES_VARIABLE = "QARIB_ALLOWED_WORKSPACES", "QARIB_ALLOWED_PREFIXES"


@dataclass(frozen=True)
class Places:
    """The places that are allowed; None allows all.

    Attributes:
        workspaces: folders. A folder in a workspace is no workspace.
        prefixes: `gs://bucket/` or `gs://bucket/folder/`: everything below.
    """

    workspaces: tuple[str, ...] | None = None
    prefixes: tuple[str, ...] | None = None

    @classmethod
    def of_environment(cls) -> Places:
        """The lists in the environment, each with entries separated by commas.

        Raises:
            ConfigError: an entry of the prefixes is not the address of a folder in a bucket.
        """
        workspaces, prefixes = _entries(WORKSPACES_VARIABLE), _entries(PREFIXES_VARIABLE)
        for entry in prefixes:
            if not entry.startswith("gs://") or not entry.removeprefix("gs://").partition("/")[0]:
                raise ConfigError(
                    f"{entry} is no folder of a bucket",
                    where=PREFIXES_VARIABLE,
                    do="Write it as gs://bucket/ or gs://bucket/folder/",
                )
        return cls(workspaces or None, tuple(f"{entry.rstrip('/')}/" for entry in prefixes) or None)

    @classmethod
    def of_deployment(cls, workspace: str, bucket: str) -> Places:
        """The deployment's workspace and those in the environment; its bucket, or the prefixes there."""
        listed = cls.of_environment()
        own = (workspace,) if workspace else ()
        prefixes = (f"gs://{bucket}/",) if bucket else ()
        return cls(own + (listed.workspaces or ()), listed.prefixes or prefixes)

    def workspace(self, given: str) -> str:
        """Return the allowed workspace that a path names, as the list has it.

        The answer does not depend on what is at the path.

        Raises:
            ConfigError: it names none.
        """
        if self.workspaces is None:
            return given
        named = {os.path.abspath(entry): entry for entry in reversed(self.workspaces)}
        if (found := named.get(os.path.abspath(given))) is None:
            raise ConfigError(
                "no workspace of this deployment",
                where=given,
                do=_choice("Workspace", self.workspaces, WORKSPACES_VARIABLE, "qarib_workspace"),
            )
        return found

    def check_prefix(self, bucket: str, prefix: str) -> None:
        """Check that runs may publish to a bucket's prefix.

        Raises:
            ConfigError: they may not.
        """
        address = f"gs://{bucket}/{prefix}"
        is_below = address.startswith(self.prefixes or ()) and ".." not in address.split("/")
        if bucket and self.prefixes is not None and not is_below:
            raise ConfigError(
                "this deployment does not publish there",
                where=address,
                do=_choice("Bucket and Prefix", self.prefixes, PREFIXES_VARIABLE, "qarib_bucket"),
            )


def _entries(variable: str) -> tuple[str, ...]:
    return tuple(entry.strip() for entry in os.environ.get(variable, "").split(",") if entry.strip())


def _choice(field: str, allowed: tuple[str, ...], variable: str, own: str) -> str:
    if not allowed:
        return f"Set the Airflow Variable {own}, or {variable} in Airflow's environment"
    listed = ", ".join(allowed)
    return f"Keep {field} empty, or choose one of {listed}; {variable} in the environment lists others"
