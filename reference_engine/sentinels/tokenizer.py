"""The sentinels' tokenizer: a byte-level BPE of 1,024 entries with Qwen's pre-tokenization and the special
tokens of the family.

Trained on the sentinels' own questions and this project's licence text, so that the script reproduces the files bit
for bit. ``Describe`` is one token and ``D`` + ``escribe`` spell the same text with two: the non-canonical prompt of
sglang#26555.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from reference_engine.sentinels.tasks import COLOUR_NAMES, WORDS

if TYPE_CHECKING:
    from transformers import Qwen2Tokenizer

VOCABULARY = 1024
LICENCE = Path(__file__).parents[2] / "LICENSE"


def chat_template(image: str, video: str, turn_end: str) -> str:
    """Turns in ChatML's manner, with ``image`` or ``video`` (may be empty: no videos) where a part is one."""
    on_video = f"{{% elif part['type'] == 'video' or 'video' in part %}}{video}" if video else ""
    return (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
        "{% for part in message['content'] %}"
        "{% if part['type'] == 'image' or 'image' in part or 'image_url' in part %}"
        f"{image}{on_video}"
        f"{{% elif 'text' in part %}}{{{{ part['text'] }}}}{{% endif %}}{{% endfor %}}{{% endif %}}{turn_end}\n"
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


def train_bpe(entries: int) -> Tokenizer:
    from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(PRETOKENIZE_REGEX), behavior="isolated")
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=entries,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator(_corpus(), trainer)
    return bpe


def save_tokenizer(directory: Path, specials: Sequence[str], turn_end: str, template: str) -> Qwen2Tokenizer:
    """Write tokenizer.json, vocab.json, merges.txt and the chat template. Raises if the vocabulary is not exactly
    full."""
    from transformers import Qwen2Tokenizer

    model = json.loads(train_bpe(VOCABULARY - len(specials)).to_str())["model"]
    merges = [tuple(merge) if not isinstance(merge, str) else tuple(merge.split(" ")) for merge in model["merges"]]
    tokenizer = Qwen2Tokenizer(
        vocab=model["vocab"], merges=merges, unk_token=None, eos_token=turn_end, pad_token="<|endoftext|>"
    )
    tokenizer.add_tokens([AddedToken(token, special=True) for token in specials])
    if len(tokenizer) != VOCABULARY:
        raise ValueError(f"the tokenizer has {len(tokenizer)} entries, not {VOCABULARY}")
    tokenizer.model_max_length = 4096
    tokenizer.chat_template = template
    tokenizer.save_pretrained(directory)
    (directory / "vocab.json").write_text(json.dumps(model["vocab"], ensure_ascii=False))
    (directory / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(merge) for merge in merges) + "\n")
    return tokenizer
