from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reference_engine.server.metrics import MetricsPage, families
from reference_engine.server.worker import EngineWorker


def test_a_total_is_a_counter_and_anything_else_a_gauge() -> None:
    made = {m.name: m.type for m in families({"running": 1, "steps_total": 2, "blocks_total": 3})}
    assert made == {"assay_running": "gauge", "assay_steps": "counter", "assay_blocks_total": "gauge"}


def test_labels_of_one_name_share_a_family() -> None:
    [family] = families({'requests_finished_total{reason="stop"}': 4, 'requests_finished_total{reason="abort"}': 1})
    assert [(s.labels, s.value) for s in family.samples] == [({"reason": "stop"}, 4.0), ({"reason": "abort"}, 1.0)]


def test_a_name_that_prometheus_cannot_hold_is_an_error() -> None:
    with pytest.raises(ValueError, match="'not a name'"):
        list(families({"not a name": 1}))


def test_the_page_can_be_parsed_and_says_that_the_thread_is_down(echo) -> None:  # noqa: ANN001
    text = MetricsPage(EngineWorker(echo)).text().decode()
    values = {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples}
    assert values["assay_up"] == 0.0
    assert values["assay_blocks_total"] == 8.0
