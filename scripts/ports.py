"""Ports for servers that start later, which nothing else on this machine takes meanwhile.

The kernel gives the ports of its ephemeral range to outgoing connections and to servers that ask for any
port. A port that is chosen there can be in use when its server starts, so these ports are below that range.
Each process reserves the ports that it chooses until it ends, so that another process does not choose them.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path

EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
# Above the default ports of Airflow and of other servers.
LOWEST = 10_000
_reserved: dict[int, socket.socket] = {}


def free_ports(number: int, wanted: int | None = None) -> list[int]:
    """Return free ports, one after the other; the first one is `wanted` instead if that is free.

    Raises:
        OSError: there are none.
    """
    first = [wanted] if wanted and _is_free(wanted) and (wanted in _reserved or _reserve([wanted])) else []
    missing = number - len(first)
    starts = range(LOWEST, max(int(EPHEMERAL.read_text().split()[0]), 2 * LOWEST) - missing)
    for start in random.sample(starts, len(starts)):
        ports = [start + n for n in range(missing)]
        if all(map(_is_free, ports)) and _reserve(ports):
            return first + ports
    raise OSError(f"no {number} free ports in {starts}")


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def _reserve(ports: list[int]) -> bool:
    """Reserve all the ports, or none if another call has reserved one of them."""
    names: dict[int, socket.socket] = {}
    try:
        for port in ports:
            names[port] = socket.socket(socket.AF_UNIX)
            # An abstract name: the kernel removes it with the process, and there is no file.
            names[port].bind(f"\0qarib-port-{port}")
    except OSError:
        for name in names.values():
            name.close()
        return False
    _reserved.update(names)
    return True
