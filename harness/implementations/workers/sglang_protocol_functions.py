"""An installed SGLang at its door: bodies and answers, text and pictures, over plain values. See
:mod:`sglang_functions`."""

from __future__ import annotations

import base64
import json
from types import SimpleNamespace

import byte_tokenizer
import torch
from sglang.srt.entrypoints.openai import protocol
from sglang.srt.entrypoints.openai.serving_completions import OpenAIServingCompletion
from sglang.srt.managers.detokenizer_manager import DetokenizerManager
from sglang.srt.managers.schedule_batch import Modality
from sglang.srt.multimodal.processors.base_processor import BaseMultimodalProcessor
from sglang.srt.multimodal.processors.qwen_vl import QwenVLImageProcessor
from sglang.srt.sampling.sampling_params import SamplingParams

LIMIT = 1000
"""What the context leaves for the answer."""
NAMES = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "min_p": "min_p", "n": "n",
    "repetition_penalty": "repetition_penalty", "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty", "seed": "sampling_seed", "min_tokens": "min_new_tokens",
    "max_tokens": "max_new_tokens", "max_completion_tokens": "max_new_tokens", "max_output_tokens": "max_new_tokens",
    "stop": "stop_strs", "stop_token_ids": "stop_token_ids", "logit_bias": "logit_bias", "ignore_eos": "ignore_eos",
    "skip_special_tokens": "skip_special_tokens",
}  # fmt: skip
"""How a body calls a parameter, and how ``SamplingParams`` does."""


def _chat(request):
    stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
    return request.to_sampling_params(stop=stop, model_generation_config={})


def _completion(request):
    return OpenAIServingCompletion._build_sampling_params(SimpleNamespace(), request)


def _responses(request):
    return request.to_sampling_params(LIMIT)


WAYS = {
    "chat": (protocol.ChatCompletionRequest, _chat),
    "completion": (protocol.CompletionRequest, _completion),
    "responses": (protocol.ResponsesRequest, _responses),
}


def read_request(way, body, rewritten):
    """The request class, and the parameters that the serving classes make of it, verified as the engine does."""
    model, parameters = WAYS[way]
    request = model.model_validate_json(json.dumps(body))
    if rewritten:
        request = model.model_validate_json(request.model_dump_json())
    params = SamplingParams(**parameters(request))
    params.verify(vocab_size=2048)
    got = {name: getattr(params, inside) for name, inside in NAMES.items() if name in model.model_fields}
    return {name: sorted(value) if isinstance(value, set) else value for name, value in got.items()}


def write_answer(way, answer):
    """The response class, as FastAPI dumps it."""
    text, reason, output_ids, prompt_ids = answer
    usage = {"prompt_tokens": len(prompt_ids or ()), "completion_tokens": len(output_ids or ()), "total_tokens": 0}
    choice = {"index": 0, "finish_reason": reason, "prompt_token_ids": prompt_ids}
    if way == "chat":
        choice |= {"message": {"role": "assistant", "content": text}, "response_token_ids": output_ids}
        made = protocol.ChatCompletionResponse(id="a", model="m", choices=[choice], usage=usage)
    else:
        choice |= {"text": text, "token_ids": output_ids}
        made = protocol.CompletionResponse(id="a", model="m", choices=[choice], usage=usage)
    return json.loads(made.model_dump_json())


def _detokenizer(tokenizer):
    """A ``DetokenizerManager`` without its sockets."""
    manager = object.__new__(DetokenizerManager)
    manager.tokenizer, manager.vocab_size, manager.decode_status = tokenizer, len(tokenizer), {}
    manager.disable_tokenizer_batch_decode = manager.is_tool_call_parser_gpt_oss = False
    manager.tool_close_token_ids = set()
    return manager


def _tokenizer(kind, vocabulary, special):
    spelled = tuple(map(bytes.fromhex, vocabulary))
    if kind == "fast":
        return byte_tokenizer.fast(spelled, tuple(special))
    return byte_tokenizer.TiktokenLike(spelled, special)


def decode_batch(kind, vocabulary, special, sequences, skip_special):
    """``_grouped_batch_decode`` (sglang#25309)."""
    manager, flags = _detokenizer(_tokenizer(kind, vocabulary, special)), [skip_special] * len(sequences)
    return manager._grouped_batch_decode(sequences, flags, [True] * len(sequences))


def stream_text(vocabulary, special, ids):
    """``_decode_batch_token_id_output``, an id a step; the last comes with the reason that it was the last."""
    manager = _detokenizer(_tokenizer("fast", vocabulary, special))
    pieces = []
    for place, token in enumerate(ids):
        finished = {"type": "length", "length": len(ids)} if place == len(ids) - 1 else None
        step = SimpleNamespace(
            rids=["a"], decoded_texts=[""], decode_ids=[[token]], read_offsets=[0], finished_reasons=[finished],
            skip_special_tokens=[True], spaces_between_special_tokens=[True], no_stop_trim=[False],
        )  # fmt: skip
        pieces += manager._decode_batch_token_id_output(step)
    return [*pieces, ""]


def read_image(data):
    """``_load_single_item``, which every processor's images go through."""
    image = BaseMultimodalProcessor._load_single_item(base64.b64decode(data), Modality.IMAGE)
    return [list(image.size), [list(pixel) for pixel in image.get_flattened_data()]]


def reuse_positions(rows, delta, length):
    """``_get_precomputed_mrope_from_output``; the processor uses what it returns, whatever the length."""
    processor = object.__new__(QwenVLImageProcessor)
    given = {"mrope_positions": torch.tensor(rows), "mrope_position_delta": torch.tensor([delta])}
    found = processor._get_precomputed_mrope_from_output(given)
    return None if found is None else [found[0].tolist(), int(found[1])]
