"""Whatever speaks OpenAI's chat: requests as messages, because that API takes no token ids beside pictures.

``transformers`` launches ``transformers serve``; ``url`` is a server that runs already. A prompt whose ids are not
what the chat template makes of its messages cannot be asked; jobs that need such prompts are not exercised here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

from harness.errors import Lacking, UsageError
from harness.observation import Evidence, Prompt
from harness.targets.base import Call, Launch, LaunchLine
from harness.targets.wire import ChoicesTarget, chat_messages, free_port
from harness.toggles import Spelling

_NO_IDS = "the chat API takes messages, no token ids"
_UNTOLD = "the chat API does not tell it"


class OpenAITarget(ChoicesTarget):
    """``POST /v1/chat/completions`` without any extension."""

    name: ClassVar[str] = "url"
    spellings: ClassVar[Mapping[str, Spelling]] = {}
    lacks: ClassVar[Mapping[Evidence, str]] = {
        "input_ids": _NO_IDS, "prompt_ids": _UNTOLD, "spans": _UNTOLD, "encoder_rows": _UNTOLD,
        "encoder_batch": _UNTOLD, "output_ids": _UNTOLD, "toggles": _UNTOLD,
    }  # fmt: skip
    health_path: ClassVar[str] = "/v1/models"
    info_path: ClassVar[str | None] = "/v1/models"
    model: str = "default"
    """The name that the server has for what it serves."""

    def launch_line(self, launch: Launch) -> LaunchLine:
        raise UsageError(f"target {self.name} is not launched: say where it runs with --url")

    def ready_url(self, log: str) -> str | None:
        return None

    def learn(self, described: Any) -> None:
        """The first model that the server lists."""
        super().learn(described)
        listed = described.get("data") if isinstance(described, Mapping) else None
        if listed and isinstance(listed[0], Mapping):
            self.model = str(listed[0].get("id", self.model))

    def call(self, prompt: Prompt, *, evidence: bool, stream: bool) -> Call:
        body: dict[str, Any] = {"model": self.model, "messages": chat_messages(prompt)}
        body |= {"max_tokens": prompt.max_new_tokens, "temperature": 0.0} | self.extras(prompt, evidence)
        if stream:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        return Call("/v1/chat/completions", body)

    def extras(self, prompt: Prompt, evidence: bool) -> dict[str, Any]:
        """Fields beyond those that every server knows."""
        return {"logprobs": True} if evidence else {}

    def with_choices(self, call: Call, n: int) -> Call:
        return Call(call.path, {**call.body, "n": n})


class TransformersTarget(OpenAITarget):
    """``transformers serve``, which runs one request at a time or, with its continuous batching, text only."""

    name: ClassVar[str] = "transformers"
    distributions: ClassVar[tuple[str, ...]] = ("transformers",)
    spellings: ClassVar[Mapping[str, Spelling]] = {
        "compile": Spelling(arguments={"off": ("--no-compile",), "on": ("--compile",)}),
        "dtype": Spelling("--dtype"),
    }
    unsupported: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("encoder_cache", "prefix_cache", "mm_processor_cache"), "keeps nothing between requests"
    ) | dict.fromkeys(
        ("chunked_prefill", "chunked_mm_input", "vit_batching", "encoder_overlap", "batch_invariant", "max_num_seqs"),
        "requests with pictures run one at a time",
    )  # fmt: skip
    lacks: ClassVar[Mapping[Evidence, str]] = {**OpenAITarget.lacks, "logprobs": "ignored in a request"}
    startup_seconds: ClassVar[float] = 300.0
    health_path: ClassVar[str] = "/health"
    info_path: ClassVar[str | None] = None

    def launch_line(self, launch: Launch) -> LaunchLine:
        flags, env = self.spell(launch.toggles)
        self.model = launch.model
        port = launch.port or free_port(launch.host)
        listen = ("--host", launch.host, "--port", str(port), "--log-level", "info")
        run = (launch.python, "-m", "transformers.cli.transformers", "serve", launch.model)
        return LaunchLine((*run, *listen, *flags, *launch.engine_args), {"HF_HUB_OFFLINE": "1"} | env)

    def ready_url(self, log: str) -> str | None:
        found = re.search(r"Uvicorn running on (http://\S+)", log)
        return found[1] if found else None

    def extras(self, prompt: Prompt, evidence: bool) -> dict[str, Any]:
        return {}

    def with_choices(self, call: Call, n: int) -> Call:
        raise Lacking(self.unsupported_because("one answer at a time"))
