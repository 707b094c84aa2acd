"""An installed vLLM at its door: bodies and answers, text and pictures, over plain values. See
:mod:`vllm_functions`."""

from __future__ import annotations

import base64
import json

import byte_tokenizer
from vllm.entrypoints.openai.chat_completion import protocol as chat
from vllm.entrypoints.openai.completion import protocol as completion
from vllm.entrypoints.openai.responses.protocol import ResponsesRequest
from vllm.multimodal.media.image import ImageMediaIO
from vllm.sampling_params import SamplingParams
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.detokenizer import IncrementalDetokenizer
from vllm.v1.engine.parallel_sampling import ParentRequest

LIMIT = 1000
"""What the context leaves for the answer."""
WAYS = {
    "chat": (chat.ChatCompletionRequest, ("max_tokens", "max_completion_tokens")),
    "completion": (completion.CompletionRequest, ("max_tokens",)),
    "responses": (ResponsesRequest, ("max_output_tokens",)),
}
NAMES = (
    "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty", "n",
    "seed", "min_tokens", "stop", "stop_token_ids", "logit_bias", "ignore_eos", "skip_special_tokens",
)  # fmt: skip


def read_request(way, body, rewritten):
    """The request class and its ``to_sampling_params``, as the serving classes call them with no server defaults."""
    model, limits = WAYS[way]
    request = model.model_validate_json(json.dumps(body))
    if rewritten:
        request = model.model_validate_json(request.model_dump_json())
    given = next((limit for name in reversed(limits) if (limit := getattr(request, name)) is not None), LIMIT)
    params = request.to_sampling_params(LIMIT if way == "responses" else min(given, LIMIT), {})
    got = {name: getattr(params, name) for name in NAMES if name in model.model_fields}
    return got | dict.fromkeys(limits, params.max_tokens)


def write_answer(way, answer):
    """The response class, dumped as the routers dump it."""
    text, reason, output_ids, prompt_ids = answer
    usage = {"prompt_tokens": len(prompt_ids or ()), "completion_tokens": len(output_ids or ()), "total_tokens": 0}
    choice = {"index": 0, "finish_reason": reason, "token_ids": output_ids}
    if way == "chat":
        choice |= {"message": chat.ChatMessage(role="assistant", content=text)}
        made = chat.ChatCompletionResponse(model="m", choices=[choice], usage=usage, prompt_token_ids=prompt_ids)
    else:
        choice |= {"text": text, "prompt_token_ids": prompt_ids}
        made = completion.CompletionResponse(model="m", choices=[choice], usage=usage)
    return json.loads(json.dumps(made.model_dump()))


def stream_text(vocabulary, special, ids):
    """``IncrementalDetokenizer`` of one request, id by id; what it still holds at the end it never tells."""
    tokenizer = byte_tokenizer.fast(tuple(map(bytes.fromhex, vocabulary)), tuple(special))
    request = EngineCoreRequest(
        request_id="a", prompt_token_ids=[], mm_features=None, sampling_params=SamplingParams(), pooling_params=None,
        arrival_time=0.0, lora_request=None, cache_salt=None, data_parallel_rank=None,
    )  # fmt: skip
    text, pieces = IncrementalDetokenizer.from_new_request(tokenizer, request), []
    for token in ids:
        text.update([token], False)
        pieces.append(text.get_next_output_text(False, True))
    return [*pieces, text.get_next_output_text(True, True)]


def read_image(data):
    """``ImageMediaIO`` with its own settings."""
    image = ImageMediaIO().load_bytes(base64.b64decode(data)).media
    return [list(image.size), [list(pixel) for pixel in image.get_flattened_data()]]


def spread_batch(size):
    """vLLM's batch of one set of parameters: the choices of a request with ``n`` of ``size``."""
    shared = {
        "temperature": 0.5, "top_p": 0.5, "top_k": 5, "min_p": 0.25, "repetition_penalty": 1.5, "presence_penalty": 0.5,
        "frequency_penalty": 0.25, "stop": ["a"], "stop_token_ids": [3], "min_tokens": 2, "max_tokens": 7,
        "ignore_eos": True, "skip_special_tokens": False, "logprobs": 2, "include_stop_str_in_output": True,
    }  # fmt: skip
    params = SamplingParams(n=size, **shared)
    request = EngineCoreRequest(
        request_id="a", prompt_token_ids=[1], mm_features=None, sampling_params=params, pooling_params=None,
        arrival_time=0.0, lora_request=None, cache_salt=None, data_parallel_rank=None, external_req_id="a",
    )  # fmt: skip
    children = [ParentRequest(request).get_child_info(k)[1] for k in range(size)]
    return [[name, value, [getattr(child, name) for child in children]] for name, value in shared.items()]
