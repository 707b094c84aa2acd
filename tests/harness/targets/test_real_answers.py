"""Adapters read what real releases answered: recorded once, to a question about two pictures and to a broken picture.

The prompts are those that the recordings say, so that an adapter that swaps two fields is seen.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.observation import Observation, Picture, Prompt, Scored, why_untold
from harness.targets import find_target
from harness.targets.base import Launch, Target

RECORDED = Path(__file__).parent / "recorded"
FILES = sorted(path.stem for path in RECORDED.glob("*.json"))
WITH_IDS = [name for name in FILES if name.partition("-")[0] in ("sglang", "vllm")]
PAD = 1022


def recording(name: str) -> tuple[Target, dict[str, Any], Prompt]:
    told = json.loads((RECORDED / f"{name}.json").read_text())
    pictures = tuple(Picture(b"png", 112, 84) for _ in range(told["prompt"]["pictures"]))
    prompt = Prompt("p1", tuple(told["prompt"]["ids"]), pictures, "which?", told["prompt"]["expected"])
    return find_target(name.partition("-")[0]), told, prompt


def read(name: str, part: str = "answer") -> tuple[Prompt, Observation]:
    target, told, prompt = recording(name)
    return prompt, target.read(prompt, "on", *told[part])


@pytest.mark.parametrize("name", FILES)
def test_text_end_and_counts(name: str) -> None:
    prompt, seen = read(name)
    assert seen.ok
    assert seen.right(prompt)
    assert seen.finish == "stop"
    assert seen.prompt_tokens == 29


@pytest.mark.parametrize("name", WITH_IDS)
def test_ids_as_run_and_a_log_probability_for_each_token(name: str) -> None:
    prompt, seen = read(name)
    assert seen.prompt_ids is not None
    assert len(seen.prompt_ids) == 29
    assert [token for token in seen.prompt_ids if token != PAD] == [token for token in prompt.ids if token != PAD]
    assert seen.output_ids == (330, 333, 336, 1016)
    assert len(seen.logprobs) == 4
    assert all(-0.1 < logprob < 0 for logprob in seen.logprobs)


def test_vllm_tells_where_each_picture_lies() -> None:
    prompt, seen = read("vllm-0.32.0")
    assert len(seen.items) == len(prompt.pictures) == 2
    assert seen.prompt_ids is not None
    for item in seen.items:
        [(start, end)] = item.spans
        assert set(seen.prompt_ids[start : end + 1]) == {PAD}
        assert PAD not in (seen.prompt_ids[start - 1], seen.prompt_ids[end + 1])
        assert item.encoder_rows is None


@pytest.mark.parametrize("name", FILES)
def test_a_refusal_keeps_its_status_and_words(name: str) -> None:
    _, seen = read(name, "refusal")
    assert not seen.ok
    assert seen.status >= 400
    assert seen.error


@pytest.mark.parametrize("name", FILES)
def test_the_last_streamed_count_is_that_of_the_answer(name: str) -> None:
    target, told, _ = recording(name)
    counts = [target.read_event(event) for event in told["events"]]
    assert [c.prompt_tokens for c in counts if c.prompt_tokens][-1] == 29
    assert [c.completion_tokens for c in counts if c.completion_tokens][-1] in (3, 4)


@pytest.mark.parametrize("name", WITH_IDS)
def test_the_version_is_learned_and_said_with_what_is_lacking(name: str) -> None:
    target, told, _ = recording(name)
    target.learn({"version": told["version"]})
    kind, _, version = name.partition("-")
    assert target.version == version
    told_of = why_untold([Observation("p", "on", 200, lacks=target.why_untold())], "encoder_rows")
    assert told_of == f"unsupported by {kind} {version} (no answer tells how many rows the encoder returned)"
    assert (target.why_without("vit_batching") or "").startswith(f"unsupported by {kind} {version} (pictures of all")
    assert target.why_without("prefix_cache") is None


def test_launch_lines_end_with_the_callers_own_words() -> None:
    toggles = {"prefix_cache": "off", "chunked_prefill": "64", "dtype": "float32"}
    launch = Launch("m", toggles, python="/engine/python", port=7, engine_args=("--seed=1",))
    line = find_target("vllm").launch_line(launch)
    assert line.argv == (
        "/engine/python", "-m", "vllm.entrypoints.cli.main", "serve", "m", "--host", "127.0.0.1", "--port", "7",
        "--enable-scale-out", "--enable-prompt-tokens-details", "--no-enable-prefix-caching",
        "--max-num-batched-tokens", "64", "--dtype", "float32",
        "--seed=1",
    )  # fmt: skip
    line = find_target("sglang").launch_line(launch)
    assert line.argv[1:] == (
        "-m", "sglang.launch_server", "--model-path", "m", "--host", "127.0.0.1", "--port", "7",
        "--enable-multimodal", "--enable-metrics", "--disable-radix-cache", "--chunked-prefill-size", "64",
        "--dtype", "float32", "--seed=1",
    )  # fmt: skip


def test_settings_are_spelled_in_each_engines_own_words() -> None:
    sglang, vllm = find_target("sglang"), find_target("vllm")
    assert sglang.spell({"avoid_retokenize": "off"}) == ([], {"SGLANG_MM_AVOID_RETOKENIZE": "0"})
    assert sglang.spell({"chunked_prefill": "0"}) == (["--chunked-prefill-size", "-1"], {})
    assert sglang.spell({"prefix_cache": "on"}) == ([], {})
    assert vllm.spell({"chunked_prefill": "0"}) == (["--no-enable-chunked-prefill"], {})
    assert vllm.spell({"mm_processor_cache": "off"}) == (["--mm-processor-cache-gb", "0"], {})
    assert vllm.spell({"batch_invariant": "on"}) == ([], {"VLLM_BATCH_INVARIANT": "1"})


@pytest.mark.parametrize(
    ("name", "log"),
    [
        ("vllm", "(APIServer pid=1) INFO 11-25 03:03:23 [entry.py:140] Starting vLLM server on http://127.0.0.1:18801"),
        ("sglang", "[2026-11-25 03:05:49] INFO:     Uvicorn running on http://127.0.0.1:18801 (Press CTRL+C to quit)"),
        ("transformers", "INFO:     Uvicorn running on http://127.0.0.1:18801 (Press CTRL+C to quit)"),
    ],
)
def test_the_address_is_read_from_each_engines_own_line(name: str, log: str) -> None:
    target = find_target(name)
    assert target.ready_url(f"loading\n{log}\nmore") == "http://127.0.0.1:18801"
    assert target.ready_url("loading") is None


def test_a_chat_is_asked_of_the_model_that_the_server_names() -> None:
    target = find_target("url")
    target.learn({"object": "list", "data": [{"id": "its-own-name"}]})
    prompt = Prompt("p", (1, 2), (Picture(b"png", 1, 1),), "read", "7", max_new_tokens=5)
    call = target.call(prompt, evidence=True, stream=False)
    assert call.path == "/v1/chat/completions"
    assert call.body["model"] == "its-own-name"
    assert [part["type"] for part in call.body["messages"][0]["content"]] == ["image_url", "text"]
    assert call.body["max_tokens"] == 5


@pytest.mark.parametrize("name", WITH_IDS)
def test_a_stream_adds_up_to_the_whole_answer(name: str) -> None:
    target, told, prompt = recording(name)
    whole = target.read(prompt, "on", *told["answer"])
    streamed = target.read_stream(prompt, "on", told["events"])
    for field in ("text", "output_ids", "finish", "prompt_tokens"):
        assert getattr(streamed, field) == getattr(whole, field)
    assert not target.read_stream(prompt, "on", []).ok


@pytest.mark.parametrize("name", WITH_IDS)
def test_choices_are_asked_for_where_the_engine_looks_for_them(name: str) -> None:
    target, told, prompt = recording(name)
    call = target.with_choices(target.call(prompt, evidence=True, stream=False), 3)
    assert call.body["sampling_params"]["n"] == 3
    status, one = told["answer"]
    many = [one, one] if name.startswith("sglang") else {**one, "choices": one["choices"] * 2}
    assert [seen.text for seen in target.read_choices(prompt, "on", status, many)] == [prompt.expected] * 2


def test_scores_of_prompts_are_asked_for_and_read() -> None:
    target, told, prompt = recording("vllm-0.32.0")
    call = target.with_scores(target.call(prompt, evidence=True, stream=False))
    assert call.body["sampling_params"]["prompt_logprobs"] == 3
    status, body = told["answer"]
    of_token = {"logprob": -6.9, "rank": 442, "decoded_token": "user"}
    scores = [None, {"339": of_token, "671": {"logprob": -5.9, "rank": 1, "decoded_token": "ility"}}]
    seen = target.read(prompt, "on", status, {**body, "prompt_logprobs": scores})
    assert seen.scored == (None, Scored(339, -6.9, ((671, -5.9), (339, -6.9))))
    target, told, prompt = recording("sglang-0.5.23")
    call = target.with_scores(target.call(prompt, evidence=True, stream=False))
    assert (call.body["logprob_start_len"], call.body["top_logprobs_num"]) == (0, 3)
    status, body = told["answer"]
    meta = {**body["meta_info"], "input_token_logprobs": [[None, 1, None], [-6.9, 339, None]]}
    meta["input_top_logprobs"] = [None, [[-5.9, 671, None], [-6.9, 339, None]]]
    seen = target.read(prompt, "on", status, {**body, "meta_info": meta})
    assert seen.scored == (None, Scored(339, -6.9, ((671, -5.9), (339, -6.9))))
