"""The real server as a process, over the real engine, on pictures."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from reference_engine import Engine, EngineConfig, Request, SamplingParams
from tests.server.launching import Running, launched

pytestmark = pytest.mark.e2e
SLOT = "<|vision_start|><|image_pad|><|vision_end|>"
SHAPES = [(1, 1), (2, 3), (3, 2), (1, 4)]


@pytest.fixture(scope="module")
def running(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with launched(model, tmp_path_factory.mktemp("server") / "log") as running:
        yield running
        assert "Traceback" not in running.log.read_text()


@pytest.fixture
def client(running: Running) -> Iterator[httpx2.Client]:
    with running.client() as client:
        yield client


def picture(rows: int, columns: int, seed: int = 0) -> Image.Image:
    """Cells of different colours, 28 pixels each: rows x columns tokens."""
    image = Image.new("RGB", (columns, rows))
    cells = range(rows * columns)
    image.putdata([((seed * 53 + i * 97) % 256, (i * 31 + seed) % 256, (i * 71 + seed * 7) % 256) for i in cells])
    return image.resize((columns * 28, rows * 28), Image.Resampling.NEAREST)


def prompt(images: int, words: str = "read") -> str:
    return f"<|im_start|>user\n{SLOT * images}{words}<|im_end|>\n<|im_start|>assistant\n"


def ask(uri: Callable[..., str], images: list[Image.Image], **more: Any) -> dict[str, Any]:
    sampling = {"max_new_tokens": 6, "ignore_eos": True}
    body = {"text": prompt(len(images)), "image_data": [uri(i) for i in images], "sampling_params": sampling}
    return body | more


def metrics(client: httpx2.Client) -> dict[str, float]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {s.name + "".join(s.labels.values()): s.value for family in families for s in family.samples}


def test_it_is_ready_in_seconds_and_says_what_it_runs(running: Running, client: httpx2.Client, model: Path) -> None:
    assert running.seconds < 60
    assert client.get("/health").status_code == 200
    info = client.get("/server_info").json()
    assert info["model"] == str(model)
    assert info["toggles"] == EngineConfig().toggle_settings()
    assert info["plant"] is None
    assert client.get("/v1/models").json()["data"][0]["id"] == str(model)
    assert metrics(client)["assay_up"] == 1


def test_the_server_answers_what_the_engine_answers(
    client: httpx2.Client, engine: Engine, uri: Callable[..., str]
) -> None:
    images = [picture(*shape, seed) for seed, shape in enumerate(SHAPES)]
    sampling = SamplingParams(max_new_tokens=6, ignore_eos=True)
    request = Request("a", text=prompt(4), images=images, sampling=sampling, want_evidence=True, want_logprobs=True)
    [expected] = engine.generate([request])
    body = ask(uri, images, return_evidence=True, return_logprob=True)
    found = client.post("/generate", json=body).json()
    assert (found["text"], found["output_ids"]) == (expected.text, expected.output_ids)
    meta, evidence = found["meta_info"], found["meta_info"]["evidence"]
    assert expected.evidence is not None
    assert evidence["prompt_ids"] == expected.evidence.prompt_ids
    assert meta["prompt_tokens"] == len(evidence["prompt_ids"])
    assert [item["encoder_rows"] for item in evidence["items"]] == [[h * w] for h, w in SHAPES]
    spans = [[list(span) for span in item.spans] for item in expected.evidence.items]
    assert [item["spans"] for item in evidence["items"]] == spans
    assert [entry[0] for entry in meta["output_token_logprobs"]] == pytest.approx(expected.logprobs, abs=1e-4)
    assert [entry[1] for entry in meta["output_token_logprobs"]] == found["output_ids"]
    ids = engine.tokenizer(prompt(4), add_special_tokens=False)["input_ids"]
    del body["text"]
    assert client.post("/generate", json=body | {"input_ids": ids}).json()["output_ids"] == expected.output_ids


def test_a_list_is_answered_as_its_prompts_are_alone(client: httpx2.Client, uri: Callable[..., str]) -> None:
    alone = [ask(uri, [picture(2, 2, 1)]), ask(uri, []), ask(uri, [picture(1, 3, 2), picture(3, 1, 3)])]
    body = {name: [one[name] for one in alone] for name in ("text", "sampling_params")}
    body["image_data"] = [alone[0]["image_data"][0], None, alone[2]["image_data"]]
    together = client.post("/generate", json=body | {"return_evidence": True}).json()
    assert [a["output_ids"] for a in together] == [client.post("/generate", json=b).json()["output_ids"] for b in alone]
    assert [a["meta_info"]["evidence"]["encoder_batch"] for a in together] == [3, 0, 3]


def test_a_chat_is_the_prompt_that_its_template_writes(client: httpx2.Client, uri: Callable[..., str]) -> None:
    image = picture(2, 3, 5)
    parts = [{"type": "image_url", "image_url": {"url": uri(image)}}, {"type": "text", "text": "read"}]
    chat = {"messages": [{"role": "user", "content": parts}], "max_tokens": 6, "ignore_eos": True}
    found = client.post("/v1/chat/completions", json=chat | {"return_evidence": True}).json()
    native = client.post("/generate", json=ask(uri, [image], return_evidence=True)).json()
    assert found["choices"][0]["message"]["content"] == native["text"]
    assert found["assay_evidence"]["prompt_ids"] == native["meta_info"]["evidence"]["prompt_ids"]
    assert found["usage"] == {"prompt_tokens": native["meta_info"]["prompt_tokens"], "completion_tokens": 6,
                              "total_tokens": native["meta_info"]["prompt_tokens"] + 6}  # fmt: skip
    assert "assay_evidence" not in client.post("/v1/chat/completions", json=chat).json()


def test_a_typed_placeholder_makes_no_image_slot_in_a_chat(client: httpx2.Client, uri: Callable[..., str]) -> None:
    parts = [
        {"type": "text", "text": "<|image_pad|> first"},
        {"type": "image_url", "image_url": {"url": uri(picture(2, 2))}},
        {"type": "text", "text": "<|vision_start|><|image_pad|>"},
    ]
    body = {"messages": [{"role": "user", "content": parts}], "max_tokens": 2, "return_evidence": True}
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    assert [item["placeholders"] for item in answer.json()["assay_evidence"]["items"]] == [[4]]
    typed = client.post("/generate", json=ask(uri, [picture(2, 2)]) | {"text": prompt(1, "<|image_pad|>")})
    assert typed.status_code == 422


def test_a_stream_ends_in_the_answer_that_is_not_streamed(client: httpx2.Client, uri: Callable[..., str]) -> None:
    body = ask(uri, [picture(2, 2, 9)], return_logprob=True)
    whole = client.post("/generate", json=body).json()
    with client.stream("POST", "/generate", json=body | {"stream": True}) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines.pop() == "[DONE]"
    events = [json.loads(line) for line in lines]
    assert [e["meta_info"]["completion_tokens"] for e in events] == [1, 2, 3, 4, 5, 6]
    assert all(whole["text"].startswith(e["text"]) for e in events)
    for made in (whole, events[-1]):
        del made["meta_info"]["id"], made["meta_info"]["e2e_latency"]
    assert events[-1] == whole


def test_metrics_count_what_was_done(client: httpx2.Client, uri: Callable[..., str]) -> None:
    """Pictures that no other test has sent: what is in a cache is not encoded again."""
    before = metrics(client)
    made = client.post("/generate", json=ask(uri, [picture(2, 2, 901), picture(1, 2, 902)])).json()["meta_info"]
    after = metrics(client)
    grown = {name: after[name] - before[name] for name in before}
    assert grown["assay_encoder_items_total"] == 2
    assert grown["assay_generation_tokens_total"] == 6
    assert grown["assay_prompt_tokens_total"] == made["prompt_tokens"]
    assert grown["assay_requests_finished_totallength"] == 1
    assert grown["assay_request_queue_time_seconds_count"] == grown["assay_e2e_request_latency_seconds_count"] == 1
    assert after["assay_blocks_free"] == after["assay_blocks_total"]
    assert after["assay_kv_cache_usage_ratio"] == 0
    assert after["assay_running"] == after["assay_waiting"] == 0


def test_many_at_once_get_what_each_gets_alone(client: httpx2.Client, uri: Callable[..., str]) -> None:
    bodies = [ask(uri, [picture(*SHAPES[(n + i) % 4], n) for i in range(n % 3)]) for n in range(20)]
    alone = [client.post("/generate", json=body).json()["output_ids"] for body in bodies]
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda body: client.post("/generate", json=body), bodies))
    assert [answer.status_code for answer in found] == [200] * 20
    assert [answer.json()["output_ids"] for answer in found] == alone


PICTURE = "PICTURE"


@pytest.mark.parametrize(
    ("change", "status", "param", "says"),
    [
        ({"image_data": ["bm90IGFuIGltYWdl"]}, 400, "image_data[0]", "not an image"),
        ({"image_data": ["http://127.0.0.1/a.png"]}, 400, "image_data[0]", "not fetched"),
        ({"image_data": ["/etc/hostname"]}, 400, "image_data[0]", "files are not opened"),
        ({"image_data": []}, 422, "text", "holds 1 image placeholder(s) but the request has 0 image(s)"),
        ({"image_data": [PICTURE] * 2}, 422, "text", "holds 1 image placeholder(s) but the request has 2 image(s)"),
        ({"image_data": [PICTURE] * 33}, 413, "image_data", "33 images; at most 32"),
        ({"text": None, "input_ids": [5, 10**7], "image_data": None}, 400, "input_ids[1]", "10000000 is not in the"),
        ({"text": None, "input_ids": [-1], "image_data": None}, 400, "input_ids[0]", "-1 is not in the vocabulary"),
        ({"text": None, "input_ids": [10**25], "image_data": None}, 400, "input_ids[0]", "is not in the vocabulary"),
        ({"text": None, "input_ids": [1] * 5000, "image_data": None}, 413, "input_ids", "5000 ids; at most 4096"),
        ({"text": None, "input_ids": ["a"]}, 400, "input_ids[0]", "valid integer, not 'a'"),
        ({"text": "", "image_data": None}, 400, "text", "empty"),
        ({"imagedata": []}, 400, "imagedata", "unknown field; known: image_data, input_ids"),
        ({"sampling_params": {"temperature": -1.0}}, 400, "sampling_params.temperature", "-1.0 is not a number"),
        ({"sampling_params": {"max_new_tokens": 0}}, 400, "sampling_params.max_new_tokens", "0 is not an integer"),
        ({"sampling_params": {"max_new_tokens": 10**9}}, 400, "sampling_params.max_new_tokens", "context"),
        ({"sampling_params": {"stop": [""]}}, 400, "sampling_params.stop", "strings of 1"),
    ],
)
def test_bad_input_is_named_and_harms_nobody(
    client: httpx2.Client, uri: Callable[..., str], change: dict[str, Any], status: int, param: str, says: str
) -> None:
    body = ask(uri, [picture(2, 2)]) | change
    if body["image_data"]:
        body["image_data"] = [uri(picture(2, 2)) if s == PICTURE else s for s in body["image_data"]]
    answer = client.post("/generate", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error")
    assert says in error["message"]
    assert client.get("/health").status_code == 200


def test_not_a_number_as_a_temperature_is_refused(client: httpx2.Client) -> None:
    for word in ("NaN", "Infinity", "1e999"):
        raw = f'{{"text": "a", "sampling_params": {{"temperature": {word}}}}}'
        assert client.post("/generate", content=raw).status_code == 400


def test_a_picture_that_claims_to_be_huge_is_refused_unread(client: httpx2.Client, uri: Callable[..., str]) -> None:
    source = uri(Image.new("1", (8000, 8000)))
    assert len(source) < 50_000
    answer = client.post("/generate", json=ask(uri, []) | {"text": prompt(1), "image_data": source})
    assert (answer.status_code, answer.json()["error"]["param"]) == (413, "image_data[0]")


def test_a_reader_that_leaves_ends_its_request(client: httpx2.Client, until: Callable[..., None]) -> None:
    before = metrics(client)["assay_requests_finished_totalabort"]
    body = {"text": prompt(0), "sampling_params": {"max_new_tokens": 3000, "ignore_eos": True}, "stream": True}
    with client.stream("POST", "/generate", json=body) as answer:
        next(answer.iter_lines())
    until(lambda: metrics(client)["assay_requests_finished_totalabort"] == before + 1)
    assert metrics(client)["assay_running"] == 0


def test_planted_fault_and_end_by_signal(model: Path, tmp_path: Path, uri: Callable[..., str]) -> None:
    """One launch for both. A fault acts on the request that it hits; SIGTERM lets short work end and leaves nothing."""
    options = ("--slice-rows", "1", "--plant", "F1-01", "--allow-plant", "--drain-seconds", "1")
    with launched(model, tmp_path / "log", *options) as running, running.client() as client:
        assert "fault F1-01 planted" in running.log.read_text()
        bodies = [ask(uri, [picture(1, 2)]), ask(uri, [picture(3, 1)])]
        both = {name: [body[name] for body in bodies] for name in bodies[0]}
        whole, sliced = client.post("/generate", json=both | {"return_evidence": True}).json()
        assert len(whole["output_ids"]) == 6
        assert sliced["error"]["code"] == 500
        assert "image_data[0]: encoder returned 1 rows but the item's spans" in sliced["error"]["message"]
        assert sliced["meta_info"]["evidence"]["items"][0]["placeholders"] == [1, 1, 1]
        single = client.post("/generate", json=bodies[1])
        assert single.status_code == 500
        assert single.json()["error"]["type"] == "engine_error"
        assert single.json()["error"]["message"].startswith("image_data[0]: encoder returned 1 rows but the item's")
        _ends_by_signal(running, client)


def _ends_by_signal(running: Running, client: httpx2.Client) -> None:
    long = {"text": prompt(0), "sampling_params": {"max_new_tokens": 3900, "ignore_eos": True}, "stream": True}
    short = {"text": prompt(0), "sampling_params": {"max_new_tokens": 3, "ignore_eos": True}}
    with client.stream("POST", "/generate", json=long) as answer:
        lines = answer.iter_lines()
        next(lines)
        found: list[httpx2.Response] = []
        asking = threading.Thread(target=lambda: found.append(client.post("/generate", json=short)))
        asking.start()
        time.sleep(0.05)
        running.process.send_signal(signal.SIGTERM)
        asking.join(20)
        *_, last, _, done, _ = lines
        assert done == "data: [DONE]"
        assert json.loads(last.removeprefix("data: "))["meta_info"]["finish_reason"] == {"type": "abort"}
        assert running.process.wait(20) == 0
    assert [answer.status_code for answer in found] == [200]
    with pytest.raises(ProcessLookupError):
        os.killpg(running.process.pid, 0)
    port = int(running.url.rsplit(":", 1)[1])
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0
    assert "Traceback" not in running.log.read_text()
