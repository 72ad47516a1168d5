"""What another user of this machine can see of processes: their ports and their command lines."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

_LISTEN = "0A"


def public_ports(pids: Iterable[int]) -> list[str]:
    """The addresses other than loopback at which processes listen."""
    return [
        f"{host}:{port}"
        for host, port in listening(pids)
        if not host.startswith(("127.", "::ffff:127.")) and host != "::1"
    ]


def listening(pids: Iterable[int]) -> set[tuple[str, int]]:
    """The addresses and ports at which processes listen."""
    found = set()
    for pid in pids:
        own = set()
        with suppress(OSError):  # It has ended.
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    own.add(os.readlink(descriptor))
        for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
            with suppress(OSError):
                for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                    fields = line.split()
                    address, port = fields[1].split(":")
                    if fields[3] == _LISTEN and f"socket:[{fields[9]}]" in own:
                        found.add((_host(address, family), int(port, 16)))
    return found


def _host(address: str, family: int) -> str:
    words = [bytes.fromhex(address[n : n + 8])[::-1] for n in range(0, len(address), 8)]
    return socket.inet_ntop(family, b"".join(words))


def command_lines_with(pids: Iterable[int], secrets: Iterable[str]) -> list[str]:
    """The command lines that have one of the secrets."""
    found = []
    for pid in pids:
        with suppress(OSError):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if any(secret in line for secret in secrets):
                found.append(line)
    return found
