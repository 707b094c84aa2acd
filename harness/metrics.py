"""What a server's page of metrics says. Needs the extra ``engine``."""

from __future__ import annotations

from collections import defaultdict

from prometheus_client.parser import text_string_to_metric_families


def totals(page: str) -> dict[str, float]:
    """Each sample's value by name, summed over labels. Raises ValueError where ``page`` is none of Prometheus's."""
    found = defaultdict[str, float](float)
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            found[sample.name] += sample.value
    return dict(found)
