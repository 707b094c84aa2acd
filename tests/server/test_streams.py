"""What a stream adds up to is the answer that is not streamed, and usage is how many tokens there are: for random
requests on every endpoint, cut inside characters by length, stop ids and stop strings.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from reference_engine import Engine, EngineConfig

WORDS = ["read", "é", "图像", "🙂", "<|im_start|>", "row 3", "\n", "  ", "naïve"]
STOPS = ["\ufffd", "e", " ", "é", "\ufffda", "th", "1", "\n"]
NATIVE, CHAT, TEXT = "/generate", "/v1/chat/completions", "/v1/completions"


def pieces(engine: Engine) -> list[int]:
    """Ids that are a part of a character."""
    assert engine.codec.spellings is not None
    bytes_only = [spelling for spelling in engine.codec.spellings.of if isinstance(spelling, bytes)]
    return [i for i, spelling in enumerate(bytes_only) if len(spelling) == 1 and spelling[0] > 0x7F]


def random_call(number: int, vocabulary: int, parts: list[int]) -> tuple[str, dict[str, Any]]:
    rng = np.random.default_rng(number)
    path = [NATIVE, CHAT, TEXT][number % 3]
    sampling: dict[str, Any] = {
        "temperature": float(rng.choice([0.0, 1.0, 4.0])), "seed": int(rng.integers(1 << 40)),
        "n": int(rng.integers(1, 4)), "ignore_eos": bool(rng.random() < 0.7), "no_stop_trim": bool(rng.random() < 0.5),
    }  # fmt: skip
    if rng.random() < 0.3:
        sampling |= {"stop": "\ufffd", "temperature": 4.0, "stop_token_ids": []}
    elif rng.random() < 0.4:
        sampling["stop"] = [str(word) for word in rng.choice(STOPS, size=int(rng.integers(1, 4)))]
    if rng.random() < 0.4 and sampling.get("stop") != "\ufffd":
        sampling["stop_token_ids"] = rng.integers(vocabulary, size=40).tolist()
    if rng.random() < 0.4:
        sampling["logit_bias"] = {str(part): 12.0 for part in parts}
    new, words = int(rng.integers(1, 9)), " ".join(map(str, rng.choice(WORDS, size=int(rng.integers(1, 5)))))
    prompts: Any = words if rng.random() < 0.6 else [words, "x" + words]
    if path == NATIVE:
        return path, {"text": prompts, "sampling_params": sampling | {"max_new_tokens": new}, "return_logprob": True}
    if path == CHAT:
        return path, {"messages": [{"role": "user", "content": words}], "max_tokens": new, "logprobs": True} | sampling
    return path, {"prompt": prompts, "max_tokens": new, "logprobs": 1} | sampling


def streamed(client: httpx2.Client, path: str, body: dict[str, Any]) -> list[Any]:
    options = {} if path == NATIVE else {"stream_options": {"include_usage": True}}
    with client.stream("POST", path, json=body | {"stream": True} | options) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def check_native(whole: Any, events: list[Any]) -> None:
    answers = whole if isinstance(whole, list) else [whole]
    for place, answer in enumerate(answers):
        own = [event for event in events if event.get("index", 0) == place]
        last = {name: value for name, value in own[-1].items() if name != "index"}
        for one in (answer, last):
            del one["meta_info"]["id"], one["meta_info"]["e2e_latency"]
        assert last == answer
        texts = [event["text"] for event in own]
        assert all(after.startswith(before) for before, after in itertools.pairwise(texts))
        ids, meta = answer["output_ids"], answer["meta_info"]
        assert meta["completion_tokens"] == len(ids) == len(meta["output_token_logprobs"])


def check_openai(path: str, whole: Any, events: list[Any]) -> int:
    """Also tells how many tokens were made."""
    *chunks, usage = events
    assert (usage["choices"], usage["usage"]) == ([], whole["usage"])
    made = 0
    for choice in whole["choices"]:
        own = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == choice["index"]]
        assert own[-1]["finish_reason"] == choice["finish_reason"]
        logprobs = [one["logprobs"] for one in own if one["logprobs"]]
        if path == CHAT:
            assert "".join(one["delta"].get("content", "") for one in own) == choice["message"]["content"]
            entries = [entry for part in logprobs for entry in part["content"]]
            assert entries == choice["logprobs"]["content"]
            made += len(entries)
        else:
            assert "".join(one["text"] for one in own) == choice["text"]
            for name, values in choice["logprobs"].items():
                assert [value for part in logprobs for value in part[name]] == values
            made += len(choice["logprobs"]["tokens"])
    assert whole["usage"]["completion_tokens"] == made
    return made


def check(client: httpx2.Client, number: int, vocabulary: int, parts: list[int]) -> str:
    """All that one call says in text, for telling what was met."""
    path, body = random_call(number, vocabulary, parts)
    found = client.post(path, json=body)
    assert found.status_code == 200, (body, found.text)
    whole, events = found.json(), streamed(client, path, body)
    if path == NATIVE:
        check_native(whole, events)
    else:
        check_openai(path, whole, events)
    prompts = body.get("text", body.get("prompt"))
    if isinstance(prompts, str) and path == TEXT:
        prompt = client.post("/tokenize", json={"prompt": prompts}).json()
        assert whole["usage"]["prompt_tokens"] == prompt["count"]
    return json.dumps(whole, ensure_ascii=False)


def check_many(model: Path, serve: Callable[..., Any], count: int) -> None:
    engine = Engine(EngineConfig(model=str(model), num_blocks=512, batch_invariant=True))
    with serve(engine) as client, ThreadPoolExecutor(8) as pool:
        parts, vocabulary = pieces(engine), engine.codec.vocabulary
        said = list(pool.map(lambda number: check(client, number, vocabulary, parts), range(count)))
    met = "\n".join(said)
    assert "\ufffd" in met, "no character was cut"
    assert '"matched": "\ufffd' in met, "no stop string was half a character"
    assert '"finish_reason": "length"' in met
    assert '"finish_reason": "stop"' in met


def test_streams_add_up(model: Path, serve: Callable[..., Any]) -> None:
    check_many(model, serve, 60)


@pytest.mark.slow
def test_a_thousand_streams_add_up(model: Path, serve: Callable[..., Any]) -> None:
    check_many(model, serve, 1000)
