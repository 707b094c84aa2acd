from __future__ import annotations

from typing import Any

import httpx2
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from reference_engine.request import Answer, StepOutput
from reference_engine.server.latencies import Latencies
from reference_engine.server.metrics import MetricsPage, families, used
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


def test_the_share_of_blocks_in_use() -> None:
    assert used({"blocks_free": 6, "blocks_total": 8}) == 0.25
    assert used({}) == 0


def output(ids: list[int], reason: Any = None, index: int = 0) -> StepOutput:
    answer = Answer("a", ids, "", reason, 7, index=index, queue_seconds=0.25) if reason else None
    return StepOutput("a", ids, "", answer, index)


def samples(text: str) -> dict[str, float]:
    """Without buckets."""
    families = text_string_to_metric_families(text)
    return {
        s.name.removeprefix("assay_"): s.value for f in families for s in f.samples if s.name.endswith(("count", "sum"))
    }


def test_each_choice_is_timed_from_its_call_and_token_by_token() -> None:
    clock = iter([3.0, 4.5, 5.0, 5.5, 9.0])
    latencies = Latencies(lambda: next(clock))
    latencies.began([("a", 0), ("a", 1)], 1.0)
    for one in (output([5]), output([6]), output([8], index=1), output([], "stop"), output([], "abort", index=1)):
        latencies.delivered(one)
    found = samples(generate_latest(latencies.registry).decode())
    assert found == {
        "time_to_first_token_seconds_count": 2, "time_to_first_token_seconds_sum": 2 + 4,
        "inter_token_latency_seconds_count": 1, "inter_token_latency_seconds_sum": 1.5,
        "e2e_request_latency_seconds_count": 1, "e2e_request_latency_seconds_sum": 4.5,
        "request_queue_time_seconds_count": 1, "request_queue_time_seconds_sum": 0.25,
        "request_prompt_tokens_count": 1, "request_prompt_tokens_sum": 7,
        "request_generation_tokens_count": 1, "request_generation_tokens_sum": 0,
    }  # fmt: skip
    latencies.delivered(output([5], "stop"))  # nobody waits for it any more
    assert samples(generate_latest(latencies.registry).decode()) == found


def test_histograms_of_a_call(client: httpx2.Client) -> None:
    before = samples(client.get("/metrics").text)
    body = {"text": "abc", "sampling_params": {"n": 2, "max_new_tokens": 3}}
    assert client.post("/generate", json=body).status_code == 200
    after = samples(client.get("/metrics").text)
    grown = {name: after[name] - before[name] for name in before}
    counts = {name.removesuffix("_count"): value for name, value in grown.items() if name.endswith("_count")}
    assert counts == {
        "time_to_first_token_seconds": 2, "inter_token_latency_seconds": 4, "e2e_request_latency_seconds": 2,
        "request_queue_time_seconds": 0, "request_prompt_tokens": 2, "request_generation_tokens": 2,
    }  # fmt: skip
    assert (grown["request_prompt_tokens_sum"], grown["request_generation_tokens_sum"]) == (6, 6)
    assert 0 < grown["time_to_first_token_seconds_sum"] <= grown["e2e_request_latency_seconds_sum"]
