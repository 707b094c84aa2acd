"""What is asked of a server beside answers: text to ids and back, ending requests, forgetting caches, and whether it
still generates. What comes back from ``/tokenize`` can be sent as ``input_ids`` and runs as the same prompt does.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Annotated, Any

from pydantic import Discriminator

from reference_engine.errors import RequestError
from reference_engine.request import Request
from reference_engine.sampling_params import SamplingParams
from reference_engine.server.chat import ChatPrompts
from reference_engine.server.field_types import Body, ManyIds, OneIds, TextsField, lists_or_ids, read
from reference_engine.server.messages import MessagesField, ToolsField
from reference_engine.server.openai import check_model
from reference_engine.server.worker import EngineWorker, Prepared, ServedEngine
from reference_engine.tokenizer import Codec, without_tokenizer


class TokenizeBody(Body):
    """``POST /tokenize``. Give ``prompt`` or ``messages``."""

    model: str | None = None
    prompt: TextsField = None
    """Text with special tokens written out, or a list of texts. No token is added."""
    messages: MessagesField = None
    """A chat, through the checkpoint's template; media are one placeholder each and are not read."""
    tools: ToolsField = None


class DetokenizeBody(Body):
    """``POST /detokenize``."""

    model: str | None = None
    tokens: Annotated[OneIds | ManyIds, Discriminator(lists_or_ids)]
    skip_special_tokens: bool = True
    """As answers do; off: written out, as in a prompt."""


class AbortBody(Body):
    """``POST /abort``. Whoever waits for such a request gets what was made of it, with ``finish_reason`` "abort"."""

    rid: TextsField = None
    """A request's id, or a list of them: the one it was sent with, or that its stream tells."""
    abort_all: bool = False


def answer_tokenize(raw: bytes, engine: ServedEngine, prompts: ChatPrompts) -> dict[str, Any]:
    """``{"tokens", "count"}``, or lists of both for a list of prompts."""
    body = read(TokenizeBody, raw)
    check_model(body.model, engine)
    if (body.prompt is None) == (body.messages is None):
        raise RequestError("prompt, messages", "give exactly one of them")
    if body.tools is not None and body.messages is None:
        raise RequestError("tools", "go through the chat template; send messages")
    if body.messages is not None:
        tokens = prompts.ids(body.messages, body.tools)
        return {"tokens": tokens, "count": len(tokens)}
    encode = engine.codec.encode
    if isinstance(body.prompt, str):
        tokens = encode(body.prompt, field="prompt")
        return {"tokens": tokens, "count": len(tokens)}
    engine.codec.check_length(sum(map(len, body.prompt or ())), "prompt")
    many = [encode(text, field=f"prompt[{i}]") for i, text in enumerate(body.prompt or ())]
    return {"tokens": many, "count": [len(tokens) for tokens in many]}


def answer_detokenize(raw: bytes, engine: ServedEngine) -> dict[str, Any]:
    """``{"text"}``, or a list of texts for a list of lists."""
    body = read(DetokenizeBody, raw)
    check_model(body.model, engine)
    if engine.codec.tokenizer is None:
        raise without_tokenizer("tokens", "they have no text here")
    decode = engine.codec.text if body.skip_special_tokens else engine.codec.decode
    if not body.tokens or isinstance(body.tokens[0], int):
        return {"text": decode(_known(body.tokens, "tokens", engine.codec))}
    lists: list[Any] = body.tokens
    return {"text": [decode(_known(ids, f"tokens[{i}]", engine.codec)) for i, ids in enumerate(lists)]}


def _known(ids: list[Any], field: str, codec: Codec) -> list[int]:
    top = codec.vocabulary - 1
    for i, token in enumerate(ids):
        if not 0 <= token <= top:
            raise RequestError(f"{field}[{i}]", f"{token} is not in the vocabulary (0 to {top})")
    return ids


def answer_abort(raw: bytes, worker: EngineWorker) -> dict[str, Any]:
    """``{"aborted": ids}`` of those that were running. To be called on the event loop."""
    body = read(AbortBody, raw)
    if (body.rid is None) != body.abort_all:
        raise RequestError("rid, abort_all", "give one of them: the ids of requests, or true")
    wanted = [body.rid] if isinstance(body.rid, str) else body.rid
    return {"aborted": worker.abort(wanted)}


async def probe(engine: ServedEngine, worker: EngineWorker, seconds: float) -> None:
    """Have one token generated. Raises (503) where that fails or takes longer."""
    placeholders = engine.placer.family.placeholders.values()
    token = next(i for i in range(engine.codec.vocabulary) if i not in placeholders)
    request = Request(f"health-{uuid.uuid4().hex}", input_ids=[token], sampling=SamplingParams(max_new_tokens=1))
    prompt = await asyncio.to_thread(engine.prepare, request)
    run = worker.run([Prepared(request, prompt)])
    try:
        [answer] = await asyncio.wait_for(run.answers(), seconds)
    except TimeoutError:
        raise RequestError("engine", f"no token was generated within {seconds:g} s", status=503) from None
    finally:
        run.close()
    if answer.error is not None:
        raise RequestError("engine", f"generating failed: {answer.error}", status=503)
