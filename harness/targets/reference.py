"""The built-in target: Assay's own reference engine, launched as ``python -m reference_engine``."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from harness.observation import ItemSeen, Observation, Prompt, RowMismatch
from harness.targets.base import Call, Launch, LaunchLine, Tensor
from harness.targets.wire import GenerateTarget, failure, generate_body, generated, id_tuple
from harness.toggles import Spelling
from reference_engine.config import EngineConfig

THREADS = min(4, max(1, (os.cpu_count() or 2) // 2))
"""Of each server: two run side by side, and sentinels are small."""
READY = re.compile(r"assay-engine ready on (http://\S+)")
MISMATCH = re.compile(
    r"image_data\[(?P<item>\d+)\]: encoder returned (?P<rows>\d+) rows but the item's spans (?P<spans>\[.*?\]) "
    r"hold (?P<expected>\d+) placeholders"
)


class ReferenceTarget(GenerateTarget):
    name: ClassVar[str] = "reference"
    distributions: ClassVar[tuple[str, ...]] = ("vlm-assay",)
    spellings: ClassVar[Mapping[str, Spelling]] = {
        name: Spelling(f"--{name.replace('_', '-')}") for name in EngineConfig.toggles()
    } | {"max_num_seqs": Spelling("--max-batch-size"), "dtype": Spelling("--dtype")}
    unsupported: ClassVar[Mapping[str, str]] = {
        "mm_processor_cache": "what a processor made is not kept; equal images are encoded once (encoder_cache)",
        "chunked_mm_input": "chunks may always end inside an image",
    }
    takes_clips: ClassVar[bool] = True
    plantable: ClassVar[bool] = True
    info_path: ClassVar[str | None] = "/server_info"
    held: ClassVar[tuple[str, ...]] = ("assay_running", "assay_waiting", "assay_encoder_rows_pinned")
    command: ClassVar[tuple[str, ...]] = ("-m", "reference_engine")
    """What the interpreter is given."""

    def launch_line(self, launch: Launch) -> LaunchLine:
        flags, env = self.spell(launch.toggles)
        options = [part for name, value in launch.options.items() for part in (f"--{name.replace('_', '-')}", value)]
        plant = ["--plant", launch.plant, "--allow-plant"] if launch.plant else []
        listen = ("--host", launch.host, "--port", str(launch.port))
        run = (launch.python, *self.command, "--model", launch.model, *listen)
        argv = (*run, *flags, *options, *plant, *launch.engine_args)
        return LaunchLine(argv, {"OMP_NUM_THREADS": str(THREADS)} | env)

    def ready_url(self, log: str) -> str | None:
        found = READY.search(log)
        return found[1].rstrip("/") if found else None

    def call(self, prompt: Prompt, *, evidence: bool, stream: bool) -> Call:
        body = generate_body(prompt, stream=stream, return_evidence=evidence, return_logprob=evidence)
        if prompt.clips:
            body["video_data"] = [
                {"frames": [frame.data_uri for frame in clip.frames], "fps": clip.fps} for clip in prompt.clips
            ]
        return Call("/generate", body)

    def read(self, prompt: Prompt, setting: str, status: int, body: Any) -> Observation:
        seen = generated(prompt, setting, status, body)
        if seen is None:
            refused = failure(prompt, setting, status, body)
            return replace(refused, mismatch=_mismatch(refused.error or ""))
        evidence = body["meta_info"].get("evidence") or {}
        return replace(
            seen,
            prompt_ids=id_tuple(evidence.get("prompt_ids")),
            items=tuple(_item(item) for item in evidence.get("items", ())),
            toggles=evidence.get("toggles", {}),
            encoder_batch=evidence.get("encoder_batch", 0),
        )

    def with_processor_output(self, call: Call, ids: Sequence[int], tensors: Mapping[str, Tensor]) -> Call:
        sent = {name: one.on_the_wire for name, one in tensors.items()}
        return Call(call.path, {**call.body, "processor_output": {"input_ids": list(ids), "tensors": sent}})


def _item(item: Mapping[str, Any]) -> ItemSeen:
    spans = tuple((int(start), int(end)) for start, end in item["spans"])
    return ItemSeen(int(item["item"]), spans, tuple(item["encoder_rows"]), tuple(item.get("rows_sketch", ())))


def _mismatch(message: str) -> RowMismatch | None:
    found = MISMATCH.search(message)
    if found is None:
        return None
    spans = tuple((int(a), int(b)) for a, b in re.findall(r"\((\d+), (\d+)\)", found["spans"]))
    return RowMismatch(int(found["item"]), spans, int(found["expected"]), int(found["rows"]))
