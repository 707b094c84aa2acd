"""SGLang: ids and pictures go to ``POST /generate`` (seen at 0.5.23).

Its answers tell the prompt as run, and neither where pictures lie in it nor what the encoder returned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from harness.observation import Evidence, Observation, Prompt
from harness.targets.base import Call, Launch, LaunchLine
from harness.targets.wire import GenerateTarget, failure, free_port, generate_body, generated, id_tuple
from harness.toggles import Spelling, switch

READY = re.compile(r"Uvicorn running on (http://\S+)")


class SGLangTarget(GenerateTarget):
    name: ClassVar[str] = "sglang"
    distributions: ClassVar[tuple[str, ...]] = ("sglang",)
    spellings: ClassVar[Mapping[str, Spelling]] = {
        "avoid_retokenize": Spelling(env="SGLANG_MM_AVOID_RETOKENIZE", words={"off": "0", "on": "1"}),
        "encoder_cache": Spelling(env="SGLANG_VLM_CACHE_SIZE_MB", words={"off": "0", "on": "100"}),
        "mm_processor_cache": Spelling("--mm-preprocess-cache-size-mb", words={"off": "0", "on": "256"}),
        "prefix_cache": switch(off=("--disable-radix-cache",)),
        "chunked_prefill": Spelling("--chunked-prefill-size", words={"0": "-1"}),
        "skip_tokenizer_init": switch(on=("--skip-tokenizer-init",)),
        "cuda_graph": switch(off=("--disable-cuda-graph",)),
        "compile": switch(on=("--enable-torch-compile",)),
        "batch_invariant": switch(on=("--enable-deterministic-inference",)),
        "max_num_seqs": Spelling("--max-running-requests"),
        "dtype": Spelling("--dtype"),
    }
    unsupported: ClassVar[Mapping[str, str]] = {
        "reuse_processor_output": "always used where a request has it, since 0.5.13; there is no switch",
        "native_decode": "on by itself for Kimi's tokenizer, since 0.5.13; there is no switch",
        "vit_batching": "pictures of all requests in a batch share a pass, since 0.5.16; there is no switch",
        "encoder_overlap": "the encoder runs in the step of its request",
        "chunked_mm_input": "chunks may always end inside a picture; there is no switch",
    }
    lacks: ClassVar[Mapping[Evidence, str]] = {
        "spans": "no answer tells where pictures lie in the prompt",
        "encoder_rows": "no answer tells how many rows the encoder returned",
        "encoder_batch": "no answer tells whose pictures shared a pass",
        "toggles": "answers tell of the prefix cache alone whether it acted",
    }
    held: ClassVar[tuple[str, ...]] = ("sglang:num_running_reqs", "sglang:num_queue_reqs")
    side_by_side: ClassVar[bool] = False
    startup_seconds: ClassVar[float] = 900.0
    info_path: ClassVar[str | None] = "/server_info"

    def launch_line(self, launch: Launch) -> LaunchLine:
        flags, env = self.spell(launch.toggles)
        listen = ("--host", launch.host, "--port", str(launch.port or free_port(launch.host)))
        serve = (launch.python, "-m", "sglang.launch_server", "--model-path", launch.model, *listen)
        told = (
            "--enable-multimodal",
            "--enable-metrics",
        )  # without the second one there is no /metrics to read ``held`` on
        return LaunchLine((*serve, *told, *flags, *launch.engine_args), env)

    def ready_url(self, log: str) -> str | None:
        """Its address is told before it is ready, and /health answers only then."""
        found = READY.search(log)
        return found[1].rstrip("/") if found else None

    def call(self, prompt: Prompt, *, evidence: bool, stream: bool) -> Call:
        wishes = {"return_logprob": evidence, "return_prompt_token_ids": evidence}
        return Call("/generate", generate_body(prompt, stream=stream, **wishes))

    def read(self, prompt: Prompt, setting: str, status: int, body: Any) -> Observation:
        seen = generated(prompt, setting, status, body)
        if seen is None:
            return failure(prompt, setting, status, body)
        cached = body["meta_info"].get("cached_tokens")
        toggles = {} if cached is None else {"prefix_cache": {"acted": cached > 0, "reason": f"{cached} tokens cached"}}
        return replace(seen, prompt_ids=id_tuple(body.get("prompt_token_ids")), toggles=toggles)
