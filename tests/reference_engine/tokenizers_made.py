"""Small tokenizers of every kind the engine knows, made here: byte-level, SentencePiece-like."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from reference_engine.hf import transformers

SPECIAL = ["<|end|>", "<|image|>"]
TEXTS = ["a", "b", "▁", "▁a", "▁▁", "ab", "é", "图", "🙂", "▁the", "<b>", "n't", ","]


def sentence_pieces(decoder: Any) -> Any:
    """Every byte as ``<0x..>``, some pieces, two special tokens and an added one that is not special."""
    vocabulary = {"<unk>": 0} | {f"<0x{byte:02X}>": 1 + byte for byte in range(256)}
    vocabulary |= {piece: 257 + i for i, piece in enumerate(TEXTS)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True))
    tokenizer.decoder = decoder
    return _wrapped(tokenizer)


def byte_level() -> Any:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({character: i for i, character in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return _wrapped(tokenizer)


def _wrapped(tokenizer: Tokenizer) -> Any:
    tokenizer.add_tokens([AddedToken("<tool>", special=False), AddedToken("日本", special=False)])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, additional_special_tokens=SPECIAL)


FAST = {
    "byte-level": byte_level,
    "llama": lambda: sentence_pieces(
        decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    ),
    "gemma": lambda: sentence_pieces(
        decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    ),
    "metaspace": lambda: sentence_pieces(decoders.Metaspace()),
    "metaspace-never": lambda: sentence_pieces(decoders.Metaspace(prepend_scheme="never")),
    "fallback-metaspace": lambda: sentence_pieces(decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])),
}
