"""Counters for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384)


class Metrics:
    """One server's counters; models are named only once they are known, so that requests cannot add series."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "serving_requests", "Requests answered", ["route", "model", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "serving_request_seconds",
            "Time from a request's head to its answer",
            ["route", "model"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.in_progress = Gauge("serving_requests_in_progress", "Requests in progress", registry=self.registry)
        self._rows = Histogram(
            "serving_call_instances", "Instances of a call of a model", ["model"], buckets=_ROWS, registry=self.registry
        )
        self.newest = Gauge(
            "serving_newest_version",
            "Number of the newest version that is available",
            ["model"],
            registry=self.registry,
        )
        self.failed = Gauge(
            "serving_failed_versions", "Published versions that could not be loaded", ["model"], registry=self.registry
        )

    def calls(self, model: str) -> Histogram:
        """The sizes of a model's calls."""
        return self._rows.labels(model)

    def forget(self, model: str) -> None:
        """Drop the gauges of a model that is no longer published."""
        self.newest.remove(model)
        self.failed.remove(model)

    def text(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)
