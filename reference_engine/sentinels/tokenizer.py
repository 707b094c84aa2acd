"""The sentinels' tokenizer: a byte-level BPE of 1,024 entries with Qwen's pre-tokenization and special tokens.

Trained on the sentinels' own questions and this project's licence text, so that the script reproduces the files bit
for bit. ``Describe`` is one token and ``D`` + ``escribe`` spell the same text with two: the non-canonical prompt of
sglang#26555.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from reference_engine.sentinels.tasks import COLOUR_NAMES, WORDS

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

VOCABULARY = 1024
SPECIALS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>",
    "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>",
)  # fmt: skip
LICENCE = Path(__file__).parents[2] / "LICENSE"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
    "<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' or 'video' in part %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% elif 'text' in part %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def _corpus() -> list[str]:
    questions = [
        "image1 row2 col3 digit?", "image1 row2 col3 colour?", "image1 row2 read", "image2 col1 read",
        "image1 row1 colours", "image1 last digit?", "every image first digit?", "user\n", "assistant\n", "system\n",
        *COLOUR_NAMES, *(" " + name for name in COLOUR_NAMES),
    ]  # fmt: skip
    words = [form for word in WORDS for form in (word, " " + word)]
    # weighted by repeating: every question word becomes one token, then the licence fills the vocabulary
    return questions * 400 + words * 80 + LICENCE.read_text().splitlines()


def train_bpe() -> Tokenizer:
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(_corpus(), trainer)
    return bpe


def save_tokenizer(directory: Path) -> Qwen2Tokenizer:
    """Write tokenizer.json, vocab.json, merges.txt and the chat template. Raises if the vocabulary is not exactly
    full."""
    from transformers import Qwen2Tokenizer

    model = json.loads(train_bpe().to_str())["model"]
    merges = [tuple(merge) if not isinstance(merge, str) else tuple(merge.split(" ")) for merge in model["merges"]]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"], merges=merges, unk_token=None, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.add_tokens([AddedToken(token, special=True) for token in SPECIALS])
    if len(tokenizer) != VOCABULARY:
        raise ValueError(f"the tokenizer has {len(tokenizer)} entries, not {VOCABULARY}")
    tokenizer.model_max_length = 4096
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(directory)
    (directory / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    (directory / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(merge) for merge in merges) + "\n")
    return tokenizer
