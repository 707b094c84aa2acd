from __future__ import annotations

from standin_workload import plain_questions

from harness.vocabulary import Vocabulary
from harness.workloads.drift import CANONICAL_EVERY, drift_prompts


def test_prompts_spell_the_same_text_with_more_tokens(vocabulary: Vocabulary) -> None:
    prompts = drift_prompts(vocabulary, plain_questions(10, 3), 3)
    for number, prompt in enumerate(prompts):
        assert vocabulary.retokenize(prompt.ids) == list(prompt.retokenized)
        assert vocabulary.decode(prompt.ids) == vocabulary.decode(prompt.retokenized)
        assert prompt.drift == len(prompt.retokenized) - len(prompt.ids)
        assert (prompt.drift == 0) == (number % CANONICAL_EVERY == CANONICAL_EVERY - 1)
        assert prompt.ids.count(vocabulary.placeholder) == len(prompt.pictures)


def test_the_seed_decides_everything(vocabulary: Vocabulary) -> None:
    def made(seed: int) -> list[tuple[tuple[int, ...], list[str]]]:
        prompts = drift_prompts(vocabulary, plain_questions(6, seed), seed)
        return [(prompt.ids, [picture.digest for picture in prompt.pictures]) for prompt in prompts]

    assert made(3) == made(3)
    assert made(3) != made(4)
