"""The reference server's protocol as plain functions: bodies to sampling parameters, answers to bodies."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any, cast

from harness.implementations.base import Answered, Refusal
from reference_engine.errors import RequestError
from reference_engine.request import Answer, FinishReason, Request
from reference_engine.sampling_params import SamplingParams
from reference_engine.server.completions import CompletionCall
from reference_engine.server.field_types import SAMPLING_FIELDS, read
from reference_engine.server.native import spread
from reference_engine.server.openai import ChatCall, chat_sampling, wire_sampling
from reference_engine.server.protocol import OPENAI_NAMES, ChatBody, CompletionBody, GenerateBody
from reference_engine.server.seams import ServingSeams
from reference_engine.server.worker import Prepared

WAYS: dict[str, tuple[Any, Callable[[Any], SamplingParams]]] = {
    "chat": (ChatBody, chat_sampling),
    "completion": (CompletionBody, wire_sampling),
}


@dataclass(frozen=True)
class ReferenceProtocol:
    """``seams`` are the clean ones or hold a planted fault."""

    seams: ServingSeams

    def spread_batch(self, size: int) -> list[tuple[str, Any, list[Any]]]:
        """``/generate`` with one ``sampling_params`` for ``size`` prompts: what each prompt is sampled with."""
        asked = {f.name: other for f in fields(SamplingParams) if (other := _other(f.default)) is not None}
        body = {"input_ids": [[5]] * size, "sampling_params": asked}
        prompts = spread(
            read(GenerateBody, json.dumps(body).encode()), max_batch=size, sampling_of=self.seams.sampling_of
        )
        return [(name, value, [getattr(prompt.sampling, name) for prompt in prompts]) for name, value in asked.items()]

    def read_request(self, way: str, body: Mapping[str, Any], rewritten: bool) -> dict[str, Any]:
        model, sampling_of = WAYS[way]
        try:
            made = read(model, json.dumps(body).encode())
            if rewritten:
                made = read(model, made.model_dump_json(by_alias=True).encode())
            params = sampling_of(made)
        except RequestError as error:
            raise Refusal(str(error)) from error
        found = {OPENAI_NAMES.get(name, name): getattr(params, name) for name in SAMPLING_FIELDS}
        found |= {"max_completion_tokens": params.max_new_tokens} if way == "chat" else {}
        return found | {"logit_bias": dict(params.logit_bias)}

    def write_answer(self, way: str, answer: Answered) -> dict[str, Any]:
        """As the endpoint replies to a request that asked for what ``answer`` holds."""
        wanted: dict[str, Any] = {
            "return_prompt_token_ids": answer.prompt_ids is not None,
            "return_meta_info": answer.output_ids is not None,
        }
        ids = answer.output_ids or []
        made = Answer("a", ids, answer.text, cast(FinishReason, answer.finish_reason), len(answer.prompt_ids or ()))
        placed: Any = SimpleNamespace(ids=answer.prompt_ids or [])
        prepared = Prepared(Request("a", text=""), placed)
        engine: Any = SimpleNamespace(config=SimpleNamespace(model="m"), codec=SimpleNamespace(tokenizer="any"))
        if way == "chat":
            _, body = ChatCall(ChatBody(**wanted), prepared, engine, self.seams, 0.0).reply([made])
        else:
            _, body = CompletionCall(CompletionBody(prompt="", **wanted), [prepared], engine, 0.0).reply([made])
        return dict(json.loads(json.dumps(body)))


def _other(default: Any) -> Any:
    """A value that is not the default of a flag or a number; None for fields of other kinds."""
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return default + 2
    return default / 2 + 0.25 if isinstance(default, float) else None
