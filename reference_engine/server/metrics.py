"""``GET /metrics``: the engine's own counters, and what clients waited for (``latencies``), in Prometheus' text form.
Every name has ``assay_`` in front.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from reference_engine.server.worker import EngineWorker

_KEY = re.compile(r"(?P<name>\w+)(?:\{(?P<labels>.*)\})?")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
MEANINGS = {
    "running": "Requests in the batch.",
    "waiting": "Requests not admitted yet.",
    "blocks_free": "KV blocks free or kept.",
    "blocks_total": "KV blocks in the pool.",
    "blocks_cached": "KV blocks kept for prompts that begin alike; they count as free.",
    "blocks_evicted_total": "Kept KV blocks that were given to somebody else.",
    "prefix_hits_total": "Requests that found their beginning in the prefix cache.",
    "prefix_tokens_total": "Prompt tokens found in the prefix cache.",
    "preemptions_total": "Requests that lost their blocks and waited again.",
    "encoder_rows_pinned": "Encoder rows of images still to be laid.",
    "encoder_rows_cached": "Encoder rows kept for images that come again.",
    "encoder_rows_bytes": "Memory of all encoder rows held.",
    "encoder_cache_hits_total": "Images whose rows were there or being made.",
    "encoder_cache_misses_total": "Images whose rows had to be made.",
    "encoder_cache_evicted_total": "Kept images whose rows made room for others.",
    "encoder_passes_total": "Vision encoder passes.",
    "encoder_items_total": "Images encoded.",
    "encoder_seconds_total": "Seconds spent encoding images.",
    "prompt_tokens_total": "Prompt tokens computed, placeholders included.",
    "generation_tokens_total": "Tokens generated.",
    "steps_total": "Engine steps with a forward pass.",
    "requests_finished_total": "Requests ended, by reason.",
}
GAUGES_IN_SPITE_OF_THEIR_NAME = {"blocks_total"}


class EngineCollector(Collector):
    """Reads the counters that the engine's thread left after its latest step; never touches the engine."""

    def __init__(self, worker: EngineWorker) -> None:
        self._worker = worker

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("assay_up", "1 while the engine's thread runs.", value=float(self._worker.alive))
        counters = self._worker.counters
        yield GaugeMetricFamily("assay_kv_cache_usage_ratio", "Share of the KV blocks in use.", value=used(counters))
        yield from families(counters)


def used(counters: Mapping[str, float]) -> float:
    total = counters.get("blocks_total", 0)
    return 1 - counters.get("blocks_free", total) / total if total else 0.0


def families(counters: Mapping[str, float]) -> Iterator[Metric]:
    """One family a name; keys may carry labels as Prometheus writes them: ``finished_total{reason="stop"}``."""
    made: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
    for key, value in counters.items():
        found = _KEY.fullmatch(key)
        if found is None:
            raise ValueError(f"counter {key!r} is not a name with labels")
        labels = dict(_LABEL.findall(found["labels"] or ""))
        family = made.setdefault(found["name"], _family(found["name"], list(labels)))
        family.add_metric(list(labels.values()), float(value))
    yield from made.values()


def _family(name: str, labels: list[str]) -> CounterMetricFamily | GaugeMetricFamily:
    meaning = MEANINGS.get(name, name)
    if name.endswith("_total") and name not in GAUGES_IN_SPITE_OF_THEIR_NAME:
        return CounterMetricFamily(f"assay_{name}", meaning, labels=labels)
    return GaugeMetricFamily(f"assay_{name}", meaning, labels=labels)


class MetricsPage:
    def __init__(self, worker: EngineWorker) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(EngineCollector(worker))
        self._latencies = worker.latencies.registry

    def text(self) -> bytes:
        return generate_latest(self._registry) + generate_latest(self._latencies)
