"""The check at every load: our packed, paged, chunked forward equals transformers' own on this very checkpoint.

Two small prompts, one with an image that is not square, go through transformers' plain forward one by one, then
through the runner in one row: chunks that cut the image, then one decoded token each. Any change inside transformers
that this engine's way in depends on shows here, at start, and not as wrong answers later. Takes a few tens of
milliseconds on the sentinel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from reference_engine.config import EngineConfig
from reference_engine.detokenizer import NoText, TextStream
from reference_engine.errors import ConfigError
from reference_engine.hf import Geometry, Model
from reference_engine.kv_cache import KVCache
from reference_engine.live_request import LiveRequest
from reference_engine.model_runner import ModelRunner
from reference_engine.multimodal.family import Family
from reference_engine.multimodal.placing import PromptPlacer
from reference_engine.multimodal.prompt import PreparedPrompt, PromptBuilder
from reference_engine.request import Request
from reference_engine.sampler import Sampled
from reference_engine.sampling_params import SamplingParams
from reference_engine.scheduler import Chunk
from reference_engine.tokenizer import Codec
from reference_engine.vision import Encoder

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.05}
"""Largest difference of a logit, as a share of the largest logit."""
MakesRunner = Callable[..., ModelRunner]
"""Takes the numbers of a :class:`KVCache` that are not the model's: blocks, block_size, lanes, longest."""


@dataclass(frozen=True)
class Case:
    """One prompt with the token that follows it."""

    prompt: PreparedPrompt
    following: int
    expected_2V: Tensor
    """Logits after the prompt and after the following token."""


def plain_cases(model: Model, geometry: Geometry, family: Family, codec: Codec) -> list[Case]:
    """The expected logits, from transformers' own forward. Call before the paged attention is in place."""
    builder = PromptBuilder(PromptPlacer(codec, family, EngineConfig()))
    reserved = {*family.placeholders.values(), *family.traits.refused.values()}
    text = [i for i in range(5, geometry.vocabulary) if i not in reserved][:30:6]
    requests = [Request("text", input_ids=text)]
    if "image" in family.placeholders:
        ids = [*text[:2], family.placeholders["image"], *text]
        requests.append(Request("image", input_ids=ids, images=[probe_image()]))
    prompts = [builder.build(request) for request in requests]
    return [Case(prompt, text[0], _plain(model, family, prompt, text[0])) for prompt in prompts]


def probe_image() -> Image.Image:
    """Noise that is not square."""
    values_HW3 = torch.randint(0, 256, (56, 84, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Image.fromarray(values_HW3.numpy())


def check_packed(make_runner: MakesRunner, encode: Encoder, cases: list[Case], dtype: torch.dtype) -> float:
    """Largest relative difference of a logit. Raises :class:`ConfigError` where it is more than rounding."""
    packed = _packed_logits(make_runner, encode, cases, cut=True)
    worst = 0.0
    for case, logits_2V in zip(cases, packed, strict=True):
        error = (logits_2V - case.expected_2V).abs().max() / case.expected_2V.abs().max()
        worst = max(worst, float(error.nan_to_num(nan=float("inf"))))
    allowed = TOLERANCE[dtype]
    if not worst <= allowed:
        raise ConfigError(
            f"model: packed and plain forward differ by {worst:.2g} of the largest logit (allowed {allowed:g}); "
            "this transformers release does something that reference_engine/hf does not know of"
        )
    return worst


def check_invariant(make_runner: MakesRunner, encode: Encoder, cases: list[Case]) -> None:
    """Raise :class:`ConfigError` unless each prompt, alone and whole, gets the bits that it gets cut and in company."""
    together = _packed_logits(make_runner, encode, cases, cut=True)
    for case, logits_2V in zip(cases, together, strict=True):
        [alone_2V] = _packed_logits(make_runner, encode, [case], cut=False)
        if not torch.equal(alone_2V, logits_2V):
            worst = float((alone_2V - logits_2V).abs().max())
            raise ConfigError(
                f"batch_invariant: on: logits alone and in a batch differ by {worst:.1g}; something in this model is "
                "not covered by reference_engine/batch_invariant.py: serve it with batch_invariant off"
            )


def _packed_logits(make_runner: MakesRunner, encode: Encoder, cases: list[Case], *, cut: bool) -> list[Tensor]:
    """Logits [2, V] of each case, all cases in one row. ``cut``: prompts in two chunks, which cuts the image."""
    longest = max(len(case.prompt.ids) for case in cases) + 1
    runner = make_runner(blocks=longest, block_size=4, lanes=len(cases), longest=longest)
    lives = [_admit(encode, runner.cache, case) for case in cases]
    starts = [live.prompt.chunk_end(0, live.prompt_length // 2) if cut else 0 for live in lives]
    if cut:
        runner.run([Chunk(live, 0, start) for live, start in zip(lives, starts, strict=True)])
    chunks = [Chunk(live, start, live.prompt_length) for live, start in zip(lives, starts, strict=True)]
    prompts_BV = runner.run(chunks)
    for live, case in zip(lives, cases, strict=True):
        live.append(Sampled(case.following, None))
    decoded_BV = runner.run([Chunk(live, live.prompt_length, live.length) for live in lives])
    return list(torch.stack([prompts_BV, decoded_BV], dim=1).cpu())


def _admit(encode: Encoder, cache: KVCache, case: Case) -> LiveRequest:
    request = Request("self-test", input_ids=case.prompt.ids, sampling=SamplingParams(max_new_tokens=2))
    live = LiveRequest.start(request, case.prompt, TextStream(NoText(), ()))
    live.lane = cache.open(len(case.prompt.ids) + 1)
    if case.prompt.items:
        live.image_rows_RD = torch.cat([rows for spans in encode(case.prompt.items) for rows in spans])
    return live


def _plain(model: Model, family: Family, prompt: PreparedPrompt, following: int) -> Tensor:
    kinds = [0] * (len(prompt.ids) + 1)
    for item in prompt.items:
        for first, last in item.spans:
            kinds[first : last + 1] = [1] * (last + 1 - first)
    tensors = family.collate([item.pixels for item in prompt.items]) if prompt.items else {}
    return model.plain_logits([*prompt.ids, following], kinds, tensors)[-2:]
