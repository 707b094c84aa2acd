"""Writes one random checkpoint: configuration, weights, tokenizer, processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from reference_engine.hf import transformers
from reference_engine.random_models.recipes import RECIPES
from reference_engine.random_models.tokenizer import make_tokenizer

SEED = 7


def write_checkpoint(model_type: str, directory: Path) -> None:
    """``transformers`` model type -> a directory that its auto classes load."""
    recipe = RECIPES[model_type]
    tokenizer = make_tokenizer(recipe.specials, recipe.named)
    config = recipe.config(tokenizer)
    auto = transformers.AutoModelForImageTextToText if recipe.processor else transformers.AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = auto.from_config(config).eval()
    enliven(model, torch.Generator().manual_seed(SEED))
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    if recipe.processor is not None:
        recipe.processor(tokenizer).save_pretrained(directory)


@torch.no_grad()
def enliven(model: Any, generator: torch.Generator) -> None:
    """Weights by which each value of a layer's output is about as large as its inputs, and a head that decides."""
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1:
            inputs = parameter.shape[-1] if ".experts." in name else parameter[0].numel()  # experts stand in a stack
            scale = inputs**-0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
        elif name.endswith("A_log"):
            parameter.fill_(-3.0)  # states that last: by default they are forgotten within a token or two
        elif name.endswith("bias"):
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.02)
    model.get_output_embeddings().weight.mul_(4)
