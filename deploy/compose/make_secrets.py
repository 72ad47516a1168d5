"""Creates the deployment's keys and passwords in volumes at the first start; later starts keep them.

Each folder is mounted only by the services that need it: Airflow's, PostgreSQL, Redis, the emulators.
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
    login = f"airflow:{database}@postgres:5432/airflow"
    keep("airflow/sql_alchemy_conn", f"postgresql+psycopg2://{login}")
    keep("airflow/result_backend", f"db+postgresql+psycopg2://{login}")
    keep("airflow/broker_url", f"redis://:{queue}@redis:6379/0")
    keep("emulators/token", secrets.token_hex(24))
    keep("airflow/fernet_key", base64.urlsafe_b64encode(secrets.token_bytes(32)).decode())
    keep("airflow/secret_key", secrets.token_hex(32))
    keep("airflow/jwt_secret", secrets.token_hex(32))
    # Airflow's simple auth manager opens this file for writing, to add users that are not in it.
    keep("airflow/passwords.json", json.dumps({"admin": secrets.token_urlsafe(16)}), 0o600)


if __name__ == "__main__":
    main()
