"""Creates the deployment's keys and passwords in volumes at the first start; later starts keep them.

Each folder is mounted only by the services that need it: api (the API server), database and queue (who logs
in there), tokens (the API server and the scheduler), postgres and redis (the servers), emulators.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path

ROOT = Path(os.environ.get("QARIB_SECRETS", "/secrets"))


def keep(name: str, value: str, mode: int = 0o400) -> str:
    """Write the file unless it exists, and return its content."""
    path = ROOT / name
    if not path.exists():
        partial = path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        # With its mode from the first byte; the umask can only take more away.
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(value.encode("ascii"))
            os.fchmod(file.fileno(), mode)
        partial.rename(path)
    return path.read_text(encoding="ascii")


def main() -> None:
    # PostgreSQL and Redis run as separate users, and each can access only its own folder.
    database = keep("postgres/password", secrets.token_hex(24), 0o444)
    settings = f"requirepass {secrets.token_hex(24)}\nappendonly yes\ndir /data\n"
    queue = keep("redis/redis.conf", settings, 0o444).split()[1]
    keep("database/sql_alchemy_conn", f"postgresql+psycopg2://airflow:{database}@postgres:5432/airflow")
    keep(
        "database/fernet_key",
        moved("fernet_key") or base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    )
    # What became of a task is also in Redis, in another of its databases: the workers need no other login.
    keep("queue/broker_url", f"redis://:{queue}@redis:6379/0")
    keep("queue/result_backend", f"redis://:{queue}@redis:6379/1")
    keep("tokens/jwt_secret", moved("jwt_secret") or secrets.token_hex(32))
    keep("emulators/token", secrets.token_hex(24))
    keep("api/secret_key", secrets.token_hex(32))
    # Airflow's simple auth manager opens this file for writing, to add users that are not in it.
    keep("api/passwords.json", json.dumps({"admin": secrets.token_urlsafe(16)}), 0o600)
    for name in ("fernet_key", "jwt_secret", "sql_alchemy_conn", "result_backend", "broker_url"):
        (ROOT / "api" / name).unlink(missing_ok=True)


def moved(name: str) -> str | None:
    """Return a secret that an earlier version kept with those of the API server."""
    former = ROOT / "api" / name
    return former.read_text(encoding="ascii") if former.exists() else None


if __name__ == "__main__":
    main()
