"""Receives StatsD metrics and serves them to Prometheus, at one address for all of Airflow's processes.

It supports the metrics that Airflow sends by UDP: counters, gauges and timers, with tags in InfluxDB's format
(`[metrics] statsd_influxdb_enabled`). The project prometheus/statsd_exporter does more and can replace it;
this one needs only packages that are installed with Airflow.

Line: `name,tag=value,…:value|type`, where type is `c` (adds), `g` (sets; with a sign, adds) or `ms`
(milliseconds), and `|@rate` for a counter that is sent with this sampling rate (github.com/statsd/statsd,
docs/metric_types.md).
"""

from __future__ import annotations

import re
import socketserver
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from qarib_tasks.errors import StorageError

_LINE = re.compile(
    r"(?P<name>[^,:|]+)(?P<tags>(?:,[^,=:|]+=[^,=|]*)*):(?P<value>[+-]?[0-9.eE+-]+)\|(?P<type>c|g|ms)"
    r"(?:\|@(?P<rate>[0-9.]+))?"
)
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9_]")
_KIND = {"c": "counter", "g": "gauge", "ms": "summary"}
Tags = tuple[tuple[str, str], ...]


@dataclass
class Series:
    """The samples of one name: values by tags; for timers, the count and the sum in seconds."""

    kind: str
    values: dict[Tags, float] = field(default_factory=dict)
    counts: dict[Tags, int] = field(default_factory=dict)


class StatsdCollector(Collector):
    """Collects the received metrics. Thread-safe."""

    def __init__(self) -> None:
        self.malformed = 0
        self._series: dict[str, Series] = {}
        self._lock = threading.Lock()

    def receive(self, packet: bytes) -> None:
        """Add a packet of lines; malformed lines are counted and skipped."""
        for line in packet.decode("utf-8", errors="replace").splitlines():
            found = _LINE.fullmatch(line.strip())
            try:
                if found is None:
                    raise ValueError(line)
                self._take(found)
            except ValueError:
                with self._lock:
                    self.malformed += 1

    def _take(self, found: re.Match[str]) -> None:
        kind, text = _KIND[found["type"]], found["value"]
        value = float(text)
        name = _NOT_IN_A_NAME.sub("_", found["name"])
        pairs = (pair.partition("=") for pair in found["tags"].split(",")[1:])
        tags = tuple(sorted((_NOT_IN_A_NAME.sub("_", key), tag) for key, _, tag in pairs))
        with self._lock:
            series = self._series.setdefault(f"{name}_seconds" if kind == "summary" else name, Series(kind))
            if series.kind != kind:
                raise ValueError(f"{name} is a {series.kind}")
            before = series.values.get(tags, 0.0)
            if kind == "counter":
                series.values[tags] = before + value / float(found["rate"] or 1)
            elif kind == "summary":
                series.values[tags] = before + value / 1000
                series.counts[tags] = series.counts.get(tags, 0) + 1
            else:
                series.values[tags] = before + value if text[0] in "+-" else value

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            metrics = [self._metric(name, series) for name, series in sorted(self._series.items())]
            malformed = Metric("statsd_malformed_lines", "Malformed lines that were skipped", "counter")
            malformed.add_sample("statsd_malformed_lines_total", {}, self.malformed)
        return [*metrics, malformed]

    @staticmethod
    def _metric(name: str, series: Series) -> Metric:
        metric = Metric(name, "From StatsD", series.kind)
        for tags, value in series.values.items():
            labels = dict(tags)
            if series.kind == "summary":
                metric.add_sample(f"{name}_count", labels, series.counts[tags])
                metric.add_sample(f"{name}_sum", labels, value)
            else:
                metric.add_sample(f"{name}_total" if series.kind == "counter" else name, labels, value)
        return metric


@contextmanager
def _listening(address: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"cannot listen: {error.strerror}"
        raise StorageError(what, where=address, do="Use another address or port") from None


class Exporter:
    """Runs both servers, each in a thread. A context manager.

    Args:
        host: address to listen on.
        statsd_port, port: UDP and HTTP ports; 0 for free ports.

    Raises:
        StorageError: a port is in use, or the address is not of this machine.
    """

    def __init__(self, host: str, statsd_port: int, port: int) -> None:
        self.collector = collector = StatsdCollector()

        class Receiver(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                collector.receive(self.request[0])

        registry = CollectorRegistry()
        registry.register(collector)
        with _listening(f"{host}:{statsd_port} (UDP)"):
            self._udp = socketserver.UDPServer((host, statsd_port), Receiver)
        try:
            with _listening(f"{host}:{port}"):
                self._http, self._http_thread = start_http_server(port, addr=host, registry=registry)
        except StorageError:
            self._udp.server_close()
            raise
        self.statsd_port, self.port = int(self._udp.server_address[1]), int(self._http.server_port)
        self._udp_thread = threading.Thread(target=self._udp.serve_forever, daemon=True)
        self._udp_thread.start()

    def __enter__(self) -> Exporter:
        return self

    def __exit__(self, *_: object) -> None:
        self._udp.shutdown()
        self._http.shutdown()
        self._udp.server_close()
        self._http.server_close()
        self._udp_thread.join()
        self._http_thread.join()
