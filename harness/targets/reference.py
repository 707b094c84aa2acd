"""The built-in target: Assay's own reference engine, launched as ``python -m reference_engine``."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from harness.observation import ItemSeen, Observation, Prompt, RowMismatch
from harness.targets.base import Call, Launch, LaunchLine, StreamEvent, Target
from harness.toggles import Spelling
from reference_engine.config import EngineConfig

THREADS = min(4, max(1, (os.cpu_count() or 2) // 2))
"""Of each server: two run side by side, and sentinels are small."""
READY = re.compile(r"assay-engine ready on (http://\S+)")
MISMATCH = re.compile(
    r"image_data\[(?P<item>\d+)\]: encoder returned (?P<rows>\d+) rows but the item's spans (?P<spans>\[.*?\]) "
    r"hold (?P<expected>\d+) placeholders"
)


class ReferenceTarget(Target):
    name: ClassVar[str] = "reference"
    spellings: ClassVar[Mapping[str, Spelling]] = {
        name: Spelling(f"--{name.replace('_', '-')}") for name in EngineConfig.toggles()
    }
    info_path: ClassVar[str | None] = "/server_info"
    command: ClassVar[tuple[str, ...]] = ("-m", "reference_engine")
    """What the interpreter is given."""

    def launch_line(self, launch: Launch) -> LaunchLine:
        flags, env = self.spell(launch.toggles)
        options = [part for name, value in launch.options.items() for part in (f"--{name.replace('_', '-')}", value)]
        plant = ["--plant", launch.plant, "--allow-plant"] if launch.plant else []
        listen = ("--host", launch.host, "--port", str(launch.port))
        argv = (launch.python, *self.command, "--model", launch.model, *listen, *flags, *options, *plant)
        return LaunchLine(argv, {"OMP_NUM_THREADS": str(THREADS)} | env)

    def ready_url(self, log: str) -> str | None:
        found = READY.search(log)
        return found[1].rstrip("/") if found else None

    def call(self, prompt: Prompt, *, evidence: bool, stream: bool) -> Call:
        sampling = {"temperature": 0.0, "max_new_tokens": prompt.max_new_tokens, "ignore_eos": prompt.ignore_eos}
        uris = [f"data:image/png;base64,{base64.b64encode(p.png).decode()}" for p in prompt.pictures]
        body: dict[str, Any] = {"input_ids": list(prompt.ids), "image_data": uris, "sampling_params": sampling}
        wishes = {"return_evidence": evidence, "return_logprob": evidence, "stream": stream}
        return Call("/generate", body | {name: True for name, wish in wishes.items() if wish})

    def read(self, prompt: Prompt, setting: str, status: int, body: Any) -> Observation:
        if status != 200 or not isinstance(body, Mapping) or "meta_info" not in body:
            return _failure(prompt, setting, status, body)
        meta = body["meta_info"]
        evidence = meta.get("evidence") or {}
        return Observation(
            request=prompt.name,
            setting=setting,
            status=status,
            text=body.get("text", ""),
            output_ids=tuple(body.get("output_ids", ())),
            logprobs=tuple(logprob for logprob, *_ in meta.get("output_token_logprobs", ())),
            finish=(meta.get("finish_reason") or {}).get("type", ""),
            prompt_tokens=meta.get("prompt_tokens"),
            prompt_ids=tuple(evidence["prompt_ids"]) if "prompt_ids" in evidence else None,
            items=tuple(_item(item) for item in evidence.get("items", ())),
            toggles=evidence.get("toggles", {}),
            encoder_batch=evidence.get("encoder_batch", 0),
        )

    def read_event(self, event: Mapping[str, Any]) -> StreamEvent:
        meta = event.get("meta_info") or {}
        return StreamEvent(meta.get("completion_tokens"), meta.get("prompt_tokens"))

    def read_stream(self, prompt: Prompt, setting: str, events: Sequence[Mapping[str, Any]]) -> Observation:
        """Events carry everything so far: the last one is the answer. An error in midstream is the request's."""
        if not events:
            return _failure(prompt, setting, 200, "the stream held no event")
        return self.read(prompt, setting, 200, events[-1])

    def with_choices(self, call: Call, n: int) -> Call:
        sampling = {**call.body["sampling_params"], "n": n}
        return Call(call.path, {**call.body, "sampling_params": sampling})

    def read_choices(self, prompt: Prompt, setting: str, status: int, body: Any) -> list[Observation]:
        return [self.read(prompt, setting, status, one) for one in (body if isinstance(body, list) else [body])]


def _item(item: Mapping[str, Any]) -> ItemSeen:
    spans = tuple((int(start), int(end)) for start, end in item["spans"])
    return ItemSeen(int(item["item"]), spans, tuple(item["encoder_rows"]), tuple(item.get("rows_sketch", ())))


def _failure(prompt: Prompt, setting: str, status: int, body: Any) -> Observation:
    error = body.get("error", body) if isinstance(body, Mapping) else body
    message = str(error.get("message", error) if isinstance(error, Mapping) else error)[:2000]
    return Observation(prompt.name, setting, status, error=message or f"HTTP {status}", mismatch=_mismatch(message))


def _mismatch(message: str) -> RowMismatch | None:
    found = MISMATCH.search(message)
    if found is None:
        return None
    spans = tuple((int(a), int(b)) for a, b in re.findall(r"\((\d+), (\d+)\)", found["spans"]))
    return RowMismatch(int(found["item"]), spans, int(found["expected"]), int(found["rows"]))
