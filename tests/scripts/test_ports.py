"""Ports that nothing else takes before their server starts."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import ports
from ports import EPHEMERAL, free_ports


def test_a_port_that_is_taken_is_not_chosen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        chosen = free_ports(4, port)
    assert port not in chosen
    assert chosen == list(range(chosen[0], chosen[0] + 4))
    # The same process can want a port again.
    assert free_ports(2, chosen[0])[0] == chosen[0]


def test_a_server_at_any_address_takes_its_port() -> None:
    taken, free = free_ports(2)
    with socket.create_server(("127.0.0.9", taken)):
        assert free_ports(1, taken) != [taken]
    assert free_ports(1, free) == [free]


def test_the_kernel_gives_none_of_them_to_others() -> None:
    lowest, highest = map(int, EPHEMERAL.read_text().split())
    assert not set(free_ports(50)) & set(range(lowest, highest + 1))


def test_two_processes_do_not_choose_the_same() -> None:
    """The other process has chosen a port, and its server has not started yet."""
    code = "from ports import free_ports; print(free_ports(1)[0], flush=True); input()"
    folder, pipe = Path(ports.__file__).parent, subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], cwd=folder, stdin=pipe, stdout=pipe) as other:
        assert other.stdout
        port = int(other.stdout.readline())
        meanwhile = free_ports(1, port)
        other.communicate(b"\n")
    assert meanwhile != [port]
    assert free_ports(1, port) == [port]
