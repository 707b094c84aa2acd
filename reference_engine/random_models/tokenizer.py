"""Tokenizers for random checkpoints: the packaged sentinel's byte-level BPE, with each family's own special tokens."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tokenizers import Tokenizer

from reference_engine.hf import transformers
from reference_engine.sentinels import PACKAGED

END, PAD = "<|im_end|>", "<|endoftext|>"


def make_tokenizer(specials: Sequence[str], named: Mapping[str, str]) -> Any:
    """``named`` are the special tokens that the family's processor finds as attributes of the tokenizer."""
    source = json.loads((PACKAGED["sentinel-qwen2.5-vl"] / "tokenizer.json").read_text(encoding="utf-8"))
    source["added_tokens"] = []
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(source)),
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens=dict(named),
        model_max_length=4096,
    )
    tokenizer.add_tokens(
        [transformers.AddedToken(token, special=True, normalized=False) for token in (END, PAD, *specials)],
        special_tokens=True,
    )
    return tokenizer
