"""A sliced image equals its bands sent as images of their own; and the planted split of sglang#25910 does not."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

ROWS = 2
BAND = ROWS * 28


def as_bands(case: Any) -> Any:
    """The same request as a client without slicing would send it: every band an image, with the family's markers
    between.
    """
    pieces = case.text.split("<|image_pad|>")
    text, images = pieces[0], []
    for image, piece in zip(case.images, pieces[1:], strict=True):
        tops = range(0, image.height, BAND)
        cuts = [top for top in tops if top == 0 or image.height - top >= 28]
        images += [image.crop((0, a, image.width, b)) for a, b in zip(cuts, [*cuts[1:], image.height], strict=True)]
        text += "<|vision_end|><|vision_start|>".join(["<|image_pad|>"] * len(cuts)) + piece
    return type(case)(text, images, case.new_tokens, case.ignore_eos)


@pytest.fixture(scope="module")
def sliced(lively: Any, make_cases: Any) -> tuple[list[Any], list[Any]]:
    sizes = [(56, 140), (84, 57), (84, 85), (140, 112), (28, 28), (60, 200), (300, 57), (56, 83)]
    cases = [case for case in make_cases(60, seed=5, sizes=sizes, max_images=3) if case.images][:40]
    return cases, [lively.oracle.generate(as_bands(case)) for case in cases]


@pytest.mark.parametrize(
    "settings", [{}, {"vit_batching": "per_item"}, {"chunked_prefill": 11}, {"avoid_retokenize": False}]
)
def test_equals_generate_on_the_bands(lively: Any, sliced: Any, settings: dict[str, Any]) -> None:
    cases, expected = sliced
    requests = [case.request(str(i)) for i, case in enumerate(cases)]
    if "avoid_retokenize" in settings:
        for request in requests:
            request.input_ids, request.text = lively.oracle.tokenizer(request.text)["input_ids"], None
    answers = lively.engine(slice_rows=ROWS, **settings).generate(requests)
    assert [a.error for a in answers] == [None] * len(cases)
    assert [a.output_ids for a in answers] == [e.ids for e in expected]


def test_evidence_lists_every_span(lively: Any, make_case: Any, picture: Any) -> None:
    case = cell_case(make_case, picture, (56, 140))
    [answer] = lively.engine(slice_rows=ROWS).generate([case.request("a", want_evidence=True)])
    [item] = answer.evidence.items
    assert item.placeholders == item.encoder_rows == [4, 4, 2]
    assert item.grids == [(1, 4, 4), (1, 4, 4), (1, 2, 4)]
    for (start, end), count in zip(item.spans, item.placeholders, strict=True):
        assert answer.evidence.prompt_ids[start : end + 1] == [lively.oracle.model.config.image_token_id] * count


@pytest.mark.parametrize("vit_batching", ["per_item", "cross_request"])
@pytest.mark.parametrize("plant", [None, "F1-01"])
def test_the_planted_split(lively: Any, make_case: Any, picture: Any, vit_batching: str, plant: str | None) -> None:
    """Sliced item in the middle: with the fault it fails and its successor silently reads its rows; nobody else
    changes.
    """
    sizes = [(56, 56), (56, 140), (56, 56), (84, 28)]
    cases = [cell_case(make_case, picture, size, seed=i) for i, size in enumerate(sizes)]
    requests = [case.request(str(i), want_evidence=True) for i, case in enumerate(cases)]
    alone = [lively.engine(slice_rows=ROWS).generate([request])[0] for request in requests]
    batched = lively.engine(slice_rows=ROWS, vit_batching=vit_batching, plant=plant).generate(requests)

    acts = plant is not None and vit_batching == "cross_request"
    assert [a.finish_reason == "error" for a in batched] == [False, acts, False, False]
    victims = [i for i in range(4) if sketch(batched[i]) != pytest.approx(sketch(alone[i]), abs=1e-4)]
    assert victims == ([1, 2, 3] if acts else [])
    changed = [i for i in (0, 2, 3) if batched[i].logprobs != pytest.approx(alone[i].logprobs, abs=1e-3)]
    assert changed == ([2, 3] if acts else [])
    if acts:
        error = batched[1].error
        assert (error.item, error.expected, error.rows, error.status) == (0, 10, 4, 500)
        assert batched[1].evidence.items[0].encoder_rows == [4, 0, 0]


def sketch(answer: Any) -> Sequence[float]:
    return [value for item in answer.evidence.items for value in item.rows_sketch]


def cell_case(make_case: Any, picture: Any, size: tuple[int, int], seed: int = 0) -> Any:
    return make_case(f"<|vision_start|><|image_pad|><|vision_end|>row {seed} read", [picture(size, seed)])


def test_bands_cover_the_image_and_leave_no_sliver() -> None:
    from reference_engine.multimodal.families.grid import GridFamily
    from reference_engine.multimodal.families.sliced import Sliced
    from reference_engine.multimodal.family import Traits

    class Cells:
        merge_size, cell = 2, 28

        def grid(self, size: tuple[int, int]) -> tuple[int, int, int]:
            return 1, size[1] // 28 * 2, size[0] // 28 * 2

    whole = GridFamily(Cells(), {"image": 9}, {"image": "<i>"}, Traits(), "cells")
    family = Sliced(whole, ROWS, (7, 8), "</><>")
    for height in np.arange(1, 400):
        bands = family.bands((56, int(height)))
        assert bands[0][0] == 0
        assert bands[-1][1] == height
        assert all(a[1] == b[0] for a, b in pairwise(bands))
        assert all(28 <= bottom - top < BAND + 28 for top, bottom in bands) or len(bands) == 1
    layout = family.layout("image", (28, 84))
    assert (layout.ids, layout.spans, layout.text) == ([9, 9, 7, 8, 9], [(0, 1), (4, 4)], "<i><i></><><i>")
    assert layout.grids == [(1, 4, 2), (1, 2, 2)]
