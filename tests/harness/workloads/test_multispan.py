from __future__ import annotations

import random

import pytest
from standin_workload import CELL, plain_questioner, solid

from harness.vocabulary import Vocabulary
from harness.workloads.multispan import LAYOUTS, MOST_BANDS, SLICE_ROWS, make_plan, multispan_prompts, stack


@pytest.mark.parametrize("layout", LAYOUTS)
def test_plans_cut_tall_pictures_where_the_engine_will(layout: str) -> None:
    rng = random.Random(5)
    for _ in range(50):
        plan = make_plan(rng, layout, SLICE_ROWS)
        assert len(plan.bands) <= MOST_BANDS
        for kind, picture in zip(layout, plan.pictures, strict=True):
            assert (len(picture) > 1) == (kind == "T")
            assert all(rows == SLICE_ROWS for rows, _ in picture[:-1])
            assert 1 <= picture[-1][0] <= SLICE_ROWS
            assert len({columns for _, columns in picture}) == 1


def test_every_wave_of_eight_mixes_several_spans_with_single_ones(vocabulary: Vocabulary) -> None:
    prompts = multispan_prompts(vocabulary, 16, 0, questioner=plain_questioner)
    for wave in (prompts[:8], prompts[8:]):
        spans = [count for prompt in wave for count in prompt.spans_per_item]
        assert max(spans) > 1
        assert spans.count(1) >= 4
    for prompt in prompts:
        assert prompt.ids.count(vocabulary.placeholder) == len(prompt.pictures) == len(prompt.spans_per_item)
        assert len(prompt.expected) == sum(prompt.spans_per_item)


def test_stack_keeps_every_band() -> None:
    tall = stack([solid(1, 2, 3), solid(4, 1, 3)])
    assert tall.size == (3 * CELL, 3 * CELL)
    assert tall.getpixel((0, 2 * CELL - 1)) == solid(1, 1, 1).getpixel((0, 0))
    assert tall.getpixel((0, 2 * CELL)) == solid(4, 1, 1).getpixel((0, 0))


def test_sentinel_questions_ask_about_bands_as_images(vocabulary: Vocabulary) -> None:
    prompts = multispan_prompts(vocabulary, 8, 0)
    assert all(prompt.question and prompt.expected for prompt in prompts)
    again = multispan_prompts(vocabulary, 8, 0)
    assert [p.pictures[0].digest for p in prompts] == [p.pictures[0].digest for p in again]
