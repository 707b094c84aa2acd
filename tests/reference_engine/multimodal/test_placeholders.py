"""Expanding, finding and taking out placeholders, on plain lists."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference_engine.errors import RequestError
from reference_engine.multimodal.placeholders import (
    Expansion,
    Layout,
    Modality,
    build_padded_input_ids,
    contract_input_ids,
    expand_input_ids,
    item_offsets,
    placeholder_runs,
    resolve_image_token_counts,
)

PAD, END, START, CLIP, FRAME = 9, 7, 8, 11, 12
IMAGES: dict[Modality, int] = {"image": PAD}
BOTH: dict[Modality, int] = {"image": PAD, "video": CLIP}
texts = st.lists(st.integers(0, 6), max_size=5)
items = st.lists(st.integers(1, 4), min_size=1, max_size=3)


def layout(counts: list[int]) -> Layout:
    ids: list[int] = []
    for count in counts:
        ids += [*([END, START] if ids else []), *[PAD] * count]
    return Layout.of_runs(ids, PAD)


@st.composite
def prompts(draw: st.DrawFn) -> tuple[list[int], list[list[int]]]:
    """Ids with one placeholder an image (adjacent ones too), and the counts of every image's spans."""
    counts = draw(st.lists(items, max_size=4))
    ids = draw(texts)
    for _ in counts:
        ids = [*ids, PAD, *draw(texts)]
    return ids, counts


@given(prompts())
def test_expanding_keeps_everything_else_and_records_every_span(prompt: tuple[list[int], list[list[int]]]) -> None:
    ids, counts = prompt
    layouts = [layout(c) for c in counts]
    expansion = expand_input_ids(ids, IMAGES, layouts)
    assert [[end - start + 1 for start, end in spans] for spans in expansion.spans] == counts
    assert all(set(expansion.ids[a : b + 1]) == {PAD} for spans in expansion.spans for a, b in spans)
    assert sum(i == PAD for i in expansion.ids) == sum(map(sum, counts))
    assert contract_input_ids(expansion.ids, expansion.spans, IMAGES, layouts) == ids
    assert expand_input_ids(expansion.ids, IMAGES, layouts) == expansion
    assert item_offsets(expansion.ids, {PAD}, counts) == expansion.spans


@given(prompts(), st.integers(-3, 3))
def test_any_other_number_of_placeholders_is_refused(prompt: tuple[list[int], list[list[int]]], more: int) -> None:
    ids, counts = prompt
    wrong = ids.count(PAD) + more
    if more == 0 or wrong < 0 or wrong == sum(map(sum, counts)):
        return
    ids = [PAD] * wrong
    with pytest.raises(RequestError) as caught:
        expand_input_ids(ids, IMAGES, [layout(c) for c in counts], field="text")
    assert (caught.value.status, caught.value.field) == (422, "text")
    assert f"holds {wrong} image placeholder(s) but the request has {len(counts)} image(s)" in caught.value.message


def test_runs_of_the_right_total_but_wrong_lengths_are_refused() -> None:
    with pytest.raises(RequestError):
        expand_input_ids([PAD, PAD, 1, PAD, PAD, PAD], IMAGES, [layout([3]), layout([2])])
    with pytest.raises(RequestError):
        item_offsets([PAD, 1, PAD], {PAD}, [[2]])
    with pytest.raises(RequestError):
        item_offsets([PAD, PAD, PAD], {PAD}, [[2]])


def test_contracting_refuses_ids_that_were_changed() -> None:
    with pytest.raises(ValueError, match="item 0"):
        contract_input_ids([1, PAD, 5, PAD], [[(1, 3)]], IMAGES, [layout([3])])


def test_padding_covers_both_ends_of_every_span() -> None:
    ids = [1, PAD, PAD, 2, PAD, PAD, 3]
    assert build_padded_input_ids(ids, [([(1, 2), (4, 4)], 100), ([(5, 5)], 200)]) == [1, 100, 100, 2, 100, 200, 3]
    assert ids == [1, PAD, PAD, 2, PAD, PAD, 3]


def test_runs_and_counts() -> None:
    class Family:
        def layout(self, modality: str, size: tuple[int, int], index: int = 0, count: int = 1) -> Layout:
            return layout([size[1] * size[0] // 784] * 2)

    assert placeholder_runs([PAD, 1, PAD, PAD], PAD) == [(0, 0), (2, 3)]
    assert resolve_image_token_counts(Family(), [(28, 84), (56, 56)]) == [[3, 3], [4, 4]]


def video(counts: list[int]) -> Layout:
    """Features that are not the placeholder's id, as some families write videos."""
    ids = [token for count in counts for token in [START, *[FRAME] * count]]
    return replace(Layout.of_runs(ids, FRAME), modality="video")


@given(st.lists(st.tuples(st.booleans(), items, texts), max_size=5), texts)
def test_two_modalities_keep_their_own_order(parts: list[tuple[bool, list[int], list[int]]], head: list[int]) -> None:
    ids = head + [token for is_video, _, text in parts for token in [CLIP if is_video else PAD, *text]]
    layouts = [layout(c) for is_video, c, _ in parts if not is_video] + [video(c) for v, c, _ in parts if v]
    expansion = expand_input_ids(ids, BOTH, layouts)
    for each, spans in zip(layouts, expansion.spans, strict=True):
        assert [last - first + 1 for first, last in spans] == each.counts
        assert {expansion.ids[i] for first, last in spans for i in range(first, last + 1)} == each.feature_ids
    assert contract_input_ids(expansion.ids, expansion.spans, BOTH, layouts) == ids
    assert expand_input_ids(expansion.ids, BOTH, layouts) == expansion


OPEN = Layout([20, 7, 9, 9, 8, 20], [(2, 3)], closed=False)
"""As Gemma 3 writes an image: placeholder 7, features 9, blank lines 20 around it."""


@pytest.mark.parametrize("before", [20, 21], ids=["as written", "merged with the text before"])
@pytest.mark.parametrize("after", [20, 21])
def test_an_expanded_image_between_merged_blank_lines_stays(before: int, after: int) -> None:
    """In Gemma 3's own chat template a line end stands before every image, and three line ends are one token."""
    ids = [5, before, 7, 9, 9, 8, after, 6]
    expansion = expand_input_ids(ids, {"image": 7}, [OPEN])
    assert expansion == Expansion(ids, [[(3, 4)]])
    contracted = contract_input_ids(ids, expansion.spans, {"image": 7}, [OPEN])
    assert contracted == ([5, 7, 6] if before == after == 20 else [5, before, 7, 8, after, 6])


def test_features_beside_an_unexpanded_placeholder_are_refused() -> None:
    with pytest.raises(RequestError, match=r"holds 4 image placeholder\(s\) but the request has 1 image"):
        expand_input_ids([5, 7, 9, 9, 9, 6], {"image": 7}, [OPEN])
