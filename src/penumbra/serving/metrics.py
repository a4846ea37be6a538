"""What a server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import Scope

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BATCH = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics(Collector):
    """Counters of one application, in a registry of its own.

    Args:
        depth: gives how many requests wait.
        workers: gives the state of each worker.
        deaths: gives how many workers ended without being told to.
        sizes: gives the bytes that are kept, by what keeps them.
    """

    def __init__(
        self,
        *,
        depth: Callable[[], int],
        workers: Callable[[], Sequence[Mapping[str, Any]]],
        deaths: Callable[[], int],
        sizes: Callable[[], Mapping[str, int]],
    ) -> None:
        self.registry = CollectorRegistry()
        self._depth, self._workers, self._deaths, self._sizes = depth, workers, deaths, sizes
        self._requests = Counter(
            "penumbra_requests", "Requests by route and status.", ["route", "status"],
            registry=self.registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "penumbra_request_seconds", "Seconds from a request to the end of its answer.",
            ["route"], buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._stages = Histogram(
            "penumbra_stage_seconds", "Seconds of an image in each stage.", ["stage"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._batches = Histogram(
            "penumbra_batch_size", "Images that shared a batch.", buckets=_BATCH,
            registry=self.registry,
        )  # fmt: skip
        self._cache = Counter(
            "penumbra_embeddings", "Embeddings that prompts asked for.", ["cache"],
            registry=self.registry,
        )  # fmt: skip
        self.registry.register(self)

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request by its route; what has none counts as one, so that labels stay few."""
        route = getattr(scope.get("route"), "path", None) or _mounted(scope["path"])
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def observe_timings(self, timings: Mapping[str, float]) -> None:
        """Take in how long each stage of an answer took."""
        for stage, seconds in timings.items():
            self._stages.labels(stage).observe(seconds)

    def observe_batch(self, size: int) -> None:
        """Take in how many images shared a batch."""
        self._batches.observe(size)

    def count_embedding(self, *, hit: bool) -> None:
        """Count an embedding that was at hand, or that had to be made."""
        self._cache.labels("hit" if hit else "miss").inc()

    def collect(self) -> list[Metric]:
        """Give what is asked for at the moment of reading."""
        ready = sum(worker.get("state") in ("ready", "busy") for worker in self._workers())
        kept = GaugeMetricFamily("penumbra_kept_bytes", "Bytes kept for later.", labels=["store"])
        for name, size in self._sizes().items():
            kept.add_metric([name], size)
        return [
            GaugeMetricFamily("penumbra_queue_depth", "Requests that wait.", value=self._depth()),
            GaugeMetricFamily("penumbra_workers_ready", "Workers that answer.", value=ready),
            CounterMetricFamily(
                "penumbra_worker_restarts", "Workers that ended untold.", value=self._deaths()
            ),
            kept,
        ]

    def text(self) -> bytes:
        """Write everything in Prometheus' text format."""
        return generate_latest(self.registry)


def _mounted(path: str) -> str:
    first = path.split("/")[1] if path.count("/") else ""
    return f"/{first}" if first in ("", "ui", "web", "docs", "openapi.json") else "other"
