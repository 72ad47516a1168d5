"""A Cloud TPU emulator: the v2alpha1 API over gRPC, whose machines are processes on this one.

    with TpuEmulator(folder, clock=(clock := ManualClock())) as emulator:
        emulator.add_fault(kind="preempt", after=60, times=1)
        client = TpuClient("my-project", endpoint=emulator.endpoint)
        ...
        emulator.advance(300)       # five minutes of the service's time, at once

Without a `ManualClock`, it uses the machine's time. It does what is documented or was reported of the real
service. Behaviour that could not be confirmed is a switch (`faults.Behaviour`). Runs only on Linux.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from qarib_tasks.config.loading import from_dict
from qarib_tasks.emulators.access import new_token
from qarib_tasks.emulators.cloud_tpu.faults import Behaviour, Fault, Faults
from qarib_tasks.emulators.cloud_tpu.nodes import NodeRecord
from qarib_tasks.emulators.cloud_tpu.rest import RestServer
from qarib_tasks.emulators.cloud_tpu.server import Api, handlers, only_with
from qarib_tasks.emulators.cloud_tpu.state import Bill, ManualClock, State, Timeline, id_of
from qarib_tasks.emulators.cloud_tpu.vm import MACHINE, MACHINE_FILES, Machine
from qarib_tasks.errors import ConfigError, StorageError
from qarib_tasks.storage.files import remove
from qarib_tasks.storage.recognition import is_empty, is_ours, require_folders

ENVIRONMENT_NAME = "CLOUD_TPU_EMULATOR_HOST"
REST_ENVIRONMENT_NAME = "CLOUD_TPU_EMULATOR_REST"
_TICK_SECONDS = 0.1

log = logging.getLogger(__name__)

MARK = ".cloud-tpu-emulator"
TOKEN_FILE = ".cloud-tpu-emulator-token"
MACHINES = f"*-*/{MACHINE}*"  # see `nodes`


def _empty(folder: Path) -> None:
    """Create the folder, or remove what an earlier emulator's machines left in it, and nothing else."""
    require_folders([folder])
    mark = folder / MARK
    if folder.is_dir() and any(folder.iterdir()) and not is_ours(mark, is_empty):
        raise ConfigError(
            "the folder has files that are not an emulator's",
            where=folder,
            do="Use another folder: the emulator deletes its machines' files in it",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Startup scripts and disks are for the user who runs the emulator.
    folder.mkdir(mode=0o700, exist_ok=True)
    mark.touch()
    for machine in folder.glob(MACHINES):
        for name in MACHINE_FILES:
            remove(machine / name)
        for one in (machine, machine.parent):
            with suppress(OSError):  # It has other files.
                one.rmdir()


class TpuEmulator:
    """The running service. A context manager: on exit, every machine is stopped.

    Args:
        folder: for the machines. At the start, files of an earlier emulator in it are deleted.
        port: 0 for a free port.
        host: address to listen on.
        token: what every request must have, see `access`; by default, a new one. `endpoint` has it.
        behaviour: delays, switches and faults, or a YAML file of them, which is read again when it changes.
        clock: seconds since 1970. With a `ManualClock`, time passes only in `advance`.
        environment: of every machine's processes.
        machine: the class of the machines; another one can run them elsewhere than as processes here.

    Raises:
        StorageError: the port is in use.
        ConfigError: the file of faults is invalid, or the folder has files that are not an emulator's.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        token: str | None = None,
        behaviour: Behaviour | Path | None = None,
        clock: Callable[[], float] | None = None,
        environment: Mapping[str, str] | None = None,
        machine: type[Machine] = Machine,
    ) -> None:
        import grpc  # type: ignore[import-untyped,unused-ignore]

        _empty(folder)
        self._clock = clock
        self.token = token or new_token()
        state = State(folder.absolute(), Timeline(clock or time.time), Faults(behaviour))
        state.token = self.token
        self.api = Api(state)
        self.api.nodes.machine = machine
        self.state = state
        self._server = grpc.server(
            ThreadPoolExecutor(8, thread_name_prefix="cloud-tpu"),
            interceptors=[only_with(self.token)],
            options=[("grpc.so_reuseport", 0)],
        )
        self._server.add_generic_rpc_handlers(handlers(self.api))
        try:
            self.port = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise StorageError(
                f"cannot listen on the port: {error}", where=f"{host}:{port}", do="Use another port"
            ) from None
        self.endpoint = f"{self.token}@127.0.0.1:{self.port}"
        self._rest = RestServer(self._locked_call, self.token, machine.host)
        state.environment |= {
            **(environment or {}),
            ENVIRONMENT_NAME: self.endpoint,
            REST_ENVIRONMENT_NAME: self._rest.address,
        }
        self._stopping = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="cloud-tpu-time", daemon=True)
        self._server.start()
        if not isinstance(clock, ManualClock):
            self._ticker.start()

    def __enter__(self) -> TpuEmulator:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop the service and every process of every machine."""
        self._stopping.set()
        if self._ticker.is_alive():
            self._ticker.join()
        self._server.stop(grace=0.5).wait()
        self._rest.close()
        with self.state.lock:
            for record in list(self.api.nodes.all.values()):
                self.api.nodes.remove(record)

    def _locked_call(self, method: str, request: Any) -> Any:
        with self.state.lock:
            return self.api.call(method, request)

    def _tick(self) -> None:
        while not self._stopping.wait(_TICK_SECONDS):
            try:
                with self.state.lock:
                    self.api.tick()
            except Exception:
                log.exception("unexpected error; the emulator continues")

    def advance(self, seconds: float) -> None:
        """Advance a manual clock, and run the actions that are due, in order."""
        if not isinstance(self._clock, ManualClock):
            raise TypeError("advance needs a ManualClock")
        with self.state.lock:
            self._clock.now += seconds
            self.api.tick()

    def add_fault(self, **values: Any) -> None:
        """Add a fault; see `faults.Fault` for the names of the values."""
        with self.state.lock:
            self.state.faults.add(from_dict(Fault, values))

    def clear_faults(self) -> None:
        with self.state.lock:
            self.state.faults.clear()

    def strike(self, node_id: str, **values: Any) -> None:
        """Apply a fault to a node's machines now, such as `strike("my-node", kind="preempt")`."""
        with self.state.lock:
            self.api.nodes.apply(self._record(node_id), from_dict(Fault, values))

    def machines(self, node_id: str) -> list[Machine]:
        """Return the workers of a node, in order."""
        with self.state.lock:
            return self._record(node_id).machines

    def _record(self, node_id: str) -> NodeRecord:
        found = [r for name, r in self.api.nodes.all.items() if id_of(name) == node_id]
        if not found:
            raise KeyError(node_id)
        return found[0]

    @property
    def node_ids(self) -> list[str]:
        """The ids of the nodes that exist, sorted."""
        with self.state.lock:
            return sorted(id_of(name) for name in self.api.nodes.all)

    @property
    def queued_resource_ids(self) -> list[str]:
        """The ids of the queued resources that exist, in any state, sorted."""
        with self.state.lock:
            return sorted(id_of(name) for name in self.api.queue.all)

    @property
    def calls(self) -> dict[str, int]:
        """The number of calls of each method of the API."""
        with self.state.lock:
            return dict(self.api.calls)

    def bills(self) -> list[Bill]:
        """Return the bill of every node, including deleted ones: the seconds that it was READY."""
        with self.state.lock:
            for record in self.api.nodes.all.values():
                self.api.nodes.charged(record)
            return list(self.api.nodes.bills)

    def bill(self, label: str) -> dict[str, float]:
        """Return the node-seconds by a label's value; nodes without the label count for the empty string."""
        sums: dict[str, float] = {}
        for bill in self.bills():
            value = bill.labels.get(label, "")
            sums[value] = sums.get(value, 0.0) + bill.seconds
        return sums


def serve(
    folder: Path,
    *,
    port: int = 0,
    host: str = "127.0.0.1",
    token: str | None = None,
    faults: Path | None = None,
    environment: Mapping[str, str] | None = None,
    scale: float | None = None,
) -> TpuEmulator:
    """Start the emulator with the machine's time.

    Args:
        faults: YAML file of a `Behaviour`; it can be created later.
        scale: of the delays, if there is no file.
    """
    if faults is None:
        return TpuEmulator(
            folder,
            port=port,
            host=host,
            token=token,
            behaviour=Behaviour(scale=1.0 if scale is None else scale),
            environment=environment,
        )
    return TpuEmulator(folder, port=port, host=host, token=token, behaviour=faults, environment=environment)
