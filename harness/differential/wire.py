"""The same cases over HTTP, as any client sends them: no evidence is asked for, and nothing is known but the answers.

The wire is SGLang's ``/generate`` and OpenAI's chat, as the reference engine speaks them.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any

import httpx2
from PIL import Image

from harness.differential.cases import Case
from harness.differential.seen import Choice, Seen
from harness.event_stream import data_in
from harness.metrics import totals
from harness.observation import Picture, png_uri, words_of_error
from harness.targets.base import Tensor
from reference_engine import SamplingParams
from reference_engine.multimodal.processor_output import ProcessorOutput

SECONDS = 60.0
TOGETHER = 8


class Wire:
    def __init__(self, url: str, pid: int | None = None) -> None:
        """``pid`` is the server's process, where it is one of ours."""
        self.url, self.pid = url, pid
        self._client = httpx2.Client(base_url=url, timeout=SECONDS, trust_env=False)

    def close(self) -> None:
        self._client.close()

    def healthy(self) -> bool:
        try:
            return self._client.get("/health").status_code == 200
        except httpx2.HTTPError:
            return False

    def metrics(self) -> dict[str, float]:
        """What the page of metrics says, by name."""
        return totals(self._client.get("/metrics").text)

    def gauges(self) -> dict[str, float]:
        """Of these, what is held or running."""
        return {name: value for name, value in self.metrics().items() if any(word in name for word in HELD)}

    def post(self, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
        """Status and body; 0 and why, where there was no answer."""
        try:
            answer = self._client.post(path, json=body)
            return answer.status_code, answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            return 0, f"{type(error).__name__}: {error}"

    def ask(self, case: Case, **more: Any) -> Seen:
        """``more`` are fields of the body, as the wire names them."""
        return _seen(*self.post("/generate", body_of(case) | more))

    def ask_together(self, cases: Sequence[Case]) -> dict[str, Seen]:
        with ThreadPoolExecutor(TOGETHER) as pool:
            return dict(zip([case.name for case in cases], pool.map(self.ask, cases), strict=True))

    def stream(self, case: Case) -> Seen:
        """The last event of each choice; in ``streamed_text`` and ``streamed_ids`` the one before it."""
        try:
            with self._client.stream("POST", "/generate", json=body_of(case) | {"stream": True}) as answer:
                if answer.status_code != 200:
                    return _seen(answer.status_code, json.loads(answer.read()))
                events = [json.loads(data) for data in data_in(answer.iter_bytes())]
        except (httpx2.HTTPError, ValueError) as error:
            return Seen(0, f"{type(error).__name__}: {error}")
        return _of_events(events)


HELD = ("running", "waiting", "pinned")


def _of_events(events: Sequence[Any]) -> Seen:
    by_index: dict[int, list[Any]] = {}
    for event in events:
        if "error" in event:
            return _seen(event["error"].get("code", 500), event)
        by_index.setdefault(event.get("index", 0), []).append(event)
    seen = _seen(200, [own[-1] for _, own in sorted(by_index.items())])
    for choice, (_, own) in zip(seen.choices, sorted(by_index.items()), strict=True):
        choice.streamed_ids = list(own[-2]["output_ids"]) if len(own) > 1 else []
        choice.streamed_text = own[-2]["text"] if len(own) > 1 else ""
    return seen


def body_of(case: Case) -> dict[str, Any]:
    """Of ``/generate``."""
    fields_of = case.make()
    body: dict[str, Any] = {name: fields_of[name] for name in ("text", "input_ids") if name in fields_of}
    if "images" in fields_of:
        body["image_data"] = [data_uri(image) for image in fields_of["images"]]
    if "videos" in fields_of:
        body["video_data"] = [
            {"frames": [data_uri(frame) for frame in video.frames], "fps": video.fps} for video in fields_of["videos"]
        ]
    if "processor_output" in fields_of:
        body["processor_output"] = _output_body(fields_of["processor_output"])
    return body | {"sampling_params": sampling_body(case.sampling), "return_logprob": True}


def _output_body(output: ProcessorOutput) -> dict[str, Any]:
    """Positions that are no rows of numbers are sent as they are, and are to be refused."""
    positions = output.mrope_positions
    return {
        "input_ids": output.input_ids,
        "tensors": {name: Tensor.of(tensor.numpy()).on_the_wire for name, tensor in output.tensors.items()},
        "mrope_positions": None if positions is None else positions.tolist(),
        "mrope_position_delta": output.mrope_position_delta,
    }


def sampling_body(params: SamplingParams) -> dict[str, Any]:
    default = SamplingParams()
    sent = {
        f.name: getattr(params, f.name) for f in fields(params) if getattr(params, f.name) != getattr(default, f.name)
    }
    return {
        name: {str(k): v for k, v in value.items()} if isinstance(value, Mapping) else
        list(value) if isinstance(value, tuple) else value
        for name, value in sent.items()
    }  # fmt: skip


def data_uri(image: Image.Image) -> str:
    """The file it came from, or a PNG of it."""
    file = getattr(image, "fp", None)
    data = file.getvalue() if isinstance(file, io.BytesIO) else Picture.of(image).png
    return png_uri(data)


def _seen(status: int, body: Any) -> Seen:
    if status != 200:
        return Seen(status, words_of_error(body)[:300])
    answers = body if isinstance(body, list) else [body]
    if any("meta_info" not in one or "error" in one for one in answers):
        return Seen(500, str(answers)[:300])
    meta = answers[0]["meta_info"]
    seen = Seen(200, "", [_choice(one) for one in answers], meta.get("prompt_tokens", 0))
    seen.prompt_ids = meta.get("prompt_token_ids")
    if "input_token_logprobs" in meta:
        seen.prompt_logprobs = [one[0] for one in meta["input_token_logprobs"]]
    return seen


def _choice(answer: Mapping[str, Any]) -> Choice:
    meta = answer["meta_info"]
    return Choice(
        ids=list(answer.get("output_ids", ())),
        text=answer.get("text", ""),
        logprobs=[one[0] for one in meta.get("output_token_logprobs", ())],
        finish=(meta.get("finish_reason") or {}).get("type", ""),
        counted=meta.get("completion_tokens"),
        likeliest=[[(one[1], one[0]) for one in place] for place in meta.get("output_top_logprobs", ())],
    )
