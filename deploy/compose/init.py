"""Prepares the deployment before Airflow starts: database, `qarib airflow-init`, the emulator's bucket."""

from __future__ import annotations

import os
import subprocess


def main() -> None:
    subprocess.run(["airflow", "db", "migrate"], check=True)
    subprocess.run(["qarib", "airflow-init"], check=True)
    if os.environ.get("STORAGE_EMULATOR_HOST"):
        from google.auth.credentials import AnonymousCredentials
        from google.cloud import storage

        client = storage.Client(project="emulator", credentials=AnonymousCredentials())
        if client.lookup_bucket(os.environ["QARIB_BUCKET"]) is None:
            client.create_bucket(os.environ["QARIB_BUCKET"])


if __name__ == "__main__":
    main()
