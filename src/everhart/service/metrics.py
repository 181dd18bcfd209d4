"""What is counted for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

__all__ = ["Metrics"]


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "everhart_requests",
            "Requests answered.",
            ["method", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "everhart_request_seconds",
            "Time from a request to the begin of its answer, with the upload of its body.",
            buckets=(0.005, 0.02, 0.1, 0.5, 2, 10, 60),
            registry=self.registry,
        )

    def count(self, method: str, status: int, seconds: float) -> None:
        """Count one answer."""
        # A client can make up methods, and each would be a line for ever.
        known = method if method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS") else "other"
        self._requests.labels(known, str(status)).inc()
        self._seconds.observe(seconds)
