"""Non-canonical prompts: words of the system text spelled with two tokens where the tokenizer would use one
(sglang#26555).

``Describe`` becomes ``D`` + ``escribe``: the same text, other ids, as a training loop that samples tokens produces
them. An engine that goes through text merges them again and runs a shorter prompt. The drift is computed from the
tokenizer alone. Every fifth prompt is canonical, so that a target which always loses tokens is told from one that
retokenizes.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from harness.observation import Prompt
from harness.vocabulary import Vocabulary
from harness.workloads.chat import QWEN, Markup, Question, chat_prompt, chat_text

SYSTEM = ("Describe every picture carefully", "please transcribe the digit", "answer with only what is seen")
CANONICAL_EVERY = 5
REPORTED_WORD = "Describe"
MOST_IMAGES = 3


def sentinel_questions(samples: int, seed: int, markup: Markup = QWEN) -> list[Question]:
    """Held-out questions on at most three pictures, of the kinds and sizes that the sentinel was trained for."""
    from reference_engine.sentinels.tasks import Limits, make_samples

    trained = markup.architecture
    limits = replace(trained.limits if trained else Limits(), max_images=MOST_IMAGES)
    made = make_samples(samples, seed, kinds=trained.kinds if trained else None, limits=limits)
    return [Question(sample.images, sample.question, sample.answer) for sample in made]


def drift_prompts(
    vocabulary: Vocabulary, questions: Iterable[Question], seed: int, markup: Markup = QWEN
) -> list[Prompt]:
    rng = random.Random(seed)
    return [_prompt(vocabulary, number, question, rng, markup) for number, question in enumerate(questions)]


def _prompt(vocabulary: Vocabulary, number: int, question: Question, rng: random.Random, markup: Markup) -> Prompt:
    system = ". ".join([SYSTEM[0], *rng.sample(SYSTEM[1:], k=rng.randrange(len(SYSTEM)))])
    wanted = 0 if number % CANONICAL_EVERY == CANONICAL_EVERY - 1 else rng.randint(1, 4)
    prompt = chat_prompt(vocabulary, f"drift-{number:02d}", question, system, markup)
    words = vocabulary.encode(system)
    spelled = split_word(vocabulary, words, REPORTED_WORD) if number == 0 else None
    spelled = split_some(vocabulary, words, wanted, rng) if spelled is None else spelled
    before, after = chat_text(len(question.images), question.question, system, markup).split(system, 1)
    ids = [*vocabulary.encode(before), *spelled, *vocabulary.encode(after)]
    retokenized = vocabulary.retokenize(ids)
    return replace(prompt, ids=tuple(ids), retokenized=tuple(retokenized), drift=len(retokenized) - len(ids))


def split_word(vocabulary: Vocabulary, ids: Sequence[int], word: str) -> list[int] | None:
    """``ids`` with ``word`` spelled with two tokens, the first of them the shortest; None where it is not one token."""
    tokens = vocabulary.encode(word)
    splits = vocabulary.splits(tokens[0]) if len(tokens) == 1 else []
    if not splits or tokens[0] not in ids:
        return None
    return [part for token in ids for part in (splits[0] if token == tokens[0] else (token,))]


def split_some(vocabulary: Vocabulary, ids: Sequence[int], wanted: int, rng: random.Random) -> list[int]:
    """``ids`` with up to ``wanted`` tokens, chosen by ``rng``, each spelled with two others of the same text."""
    places = [place for place, token in enumerate(ids) if vocabulary.splits(token)]
    chosen = set(rng.sample(places, k=min(wanted, len(places))))
    return [
        part
        for place, token in enumerate(ids)
        for part in (rng.choice(vocabulary.splits(token)) if place in chosen else (token,))
    ]
