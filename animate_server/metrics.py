"""What Prometheus is told. Read from the store when asked, so that API and workers need not agree on counters."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from animate_server import __version__
from animate_server.jobs import JobStatus
from animate_server.store import Store
from animate_server.workers import WorkerRegistry


def render_metrics(store: Store, workers: WorkerRegistry) -> bytes:
    """Return the text format of Prometheus. No URL, key or name of a file is in it."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Reader(store, workers))
    return generate_latest(registry)


class _Reader(Collector):
    def __init__(self, store: Store, workers: WorkerRegistry) -> None:
        self._store = store
        self._registry = workers

    def collect(self) -> Iterator[Metric]:
        yield _info()
        yield from self._jobs()
        yield from self._totals()
        yield from self._workers()

    def _jobs(self) -> Iterator[Metric]:
        counts = self._store.counts()
        states = GaugeMetricFamily("animate_jobs", "Jobs stored, by state.", labels=["status"])
        for status, count in counts.items():
            states.add_metric([status.value], count)
        yield states
        yield GaugeMetricFamily("animate_queue_depth", "Jobs that wait.", value=counts[JobStatus.QUEUED])
        yield GaugeMetricFamily(
            "animate_queue_oldest_seconds", "How long the first has waited.", value=self._store.oldest_queued_s()
        )

    def _totals(self) -> Iterator[Metric]:
        ended = CounterMetricFamily("animate_jobs_ended", "Jobs ever ended, by final state.", labels=["status"])
        queue = SummaryMetricFamily("animate_job_queue_seconds", "Time in the queue.", labels=["status"])
        run = SummaryMetricFamily("animate_job_run_seconds", "Time with workers.", labels=["status"])
        for status, (jobs, queue_s, run_s) in self._store.totals().items():
            ended.add_metric([status], jobs)
            queue.add_metric([status], count_value=jobs, sum_value=queue_s)
            run.add_metric([status], count_value=jobs, sum_value=run_s)
        yield from (ended, queue, run)

    def _workers(self) -> Iterator[Metric]:
        up = GaugeMetricFamily("animate_worker_up", "1: loaded and alive; 0: starting.", labels=["worker", "device"])
        busy = GaugeMetricFamily("animate_worker_busy", "1 while it renders.", labels=["worker", "device"])
        for worker in self._registry.alive():
            labels = [worker.name, worker.device]
            up.add_metric(labels, worker.can_take_jobs)
            busy.add_metric(labels, worker.state == "busy")
        yield from (up, busy)


def _info() -> GaugeMetricFamily:
    info = GaugeMetricFamily("animate_info", "Always 1.", labels=["version"])
    info.add_metric([__version__], 1)
    return info
