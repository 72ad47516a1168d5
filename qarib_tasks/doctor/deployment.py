"""What a deployment is, for its checks: settings, credentials, and clients."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qarib_tasks.config.loading import from_dict, load_yaml
from qarib_tasks.config.presets import resolve
from qarib_tasks.config.run import RunConfig
from qarib_tasks.config.tpu import TpuConfig
from qarib_tasks.config.yaml_text import read_mapping
from qarib_tasks.doctor.apis import SCOPE, refused_credentials
from qarib_tasks.storage.bucket import default_client
from qarib_tasks.tpu.api.client import Backoff, CloudTpuClient, is_emulator
from qarib_tasks.tpu.gke.client import EMULATOR_ENVIRONMENT

STORAGE_EMULATOR = "STORAGE_EMULATOR_HOST"
# For the doctor: a service that does not answer at once is a finding.
PATIENCE = Backoff(within=20.0)

# Credentials of google-auth and their project; called only if Google is asked.
Login = Callable[[], tuple[Any, str]]


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A deployment, seen from the machine that checks it.

    Attributes:
        run: settings with sources, for what they need; None without.
        login: see `Login`.
        tpu_client: makes a client of Cloud TPU, of credentials (None for an emulator) and a project.
        storage_client: makes a `google.cloud.storage.Client`.
        emulates_tpu, emulates_storage: whether the service is an emulator.
    """

    tpu: TpuConfig
    bucket: str
    prefix: str = ""
    workspace: str = ""
    run: RunConfig | None = None
    login: Login
    tpu_client: Callable[[Any, str], CloudTpuClient]
    storage_client: Callable[[], Any] = default_client
    emulates_tpu: bool = False
    emulates_storage: bool = False
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))

    @property
    def on_tpu(self) -> bool:
        return self.tpu.machine == "cloud_tpu"

    @property
    def on_cluster(self) -> bool:
        return self.tpu.machine == "gke"

    @property
    def emulates_cluster(self) -> bool:
        """Whether the API server is a stand-in; there is none for Google's API of clusters."""
        return bool(self.environment.get(EMULATOR_ENVIRONMENT))


def of_environment(config: Path | None) -> Deployment:
    """The deployment of the command line: its settings from a file or the environment.

    Args:
        config: as of `qarib run`; None: QARIB_BUCKET, QARIB_WORKSPACE, and QARIB_TPU have the settings.

    Raises:
        ConfigError: a setting is invalid.
    """
    environment = dict(os.environ)
    if config is not None:
        run = resolve(load_yaml(config), config)
        settings: dict[str, Any] = {"run": run, "tpu": run.tpu, "bucket": run.upload.bucket}
        settings |= {"prefix": run.upload.prefix, "workspace": os.path.expanduser(run.workspace)}
    else:
        tpu = from_dict(TpuConfig, read_mapping(environment.get("QARIB_TPU", ""), "QARIB_TPU"))
        settings = {"tpu": tpu, "bucket": environment.get("QARIB_BUCKET", "")}
        settings |= {"workspace": environment.get("QARIB_WORKSPACE", "")}
    return Deployment(
        **settings,
        login=default_login,
        tpu_client=lambda credentials, project: CloudTpuClient(
            project, credentials=credentials, backoff=PATIENCE
        ),
        emulates_tpu=is_emulator(None),
        emulates_storage=STORAGE_EMULATOR in environment,
        environment=environment,
    )


def default_login() -> tuple[Any, str]:
    """The machine's default credentials, and the project of the environment, of the key, or of gcloud.

    Raises:
        CredentialsError: there are none.
    """
    import google.auth
    from google.auth.exceptions import GoogleAuthError

    try:
        credentials, project = google.auth.default(scopes=[SCOPE])
    except GoogleAuthError as error:
        raise refused_credentials(error) from None
    return credentials, project or ""
