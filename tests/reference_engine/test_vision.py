"""Splitting an encoder pass, and putting passes together."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reference_engine.errors import EncoderMismatch
from reference_engine.multimodal.placeholders import Modality
from reference_engine.multimodal.prompt import PreparedItem
from reference_engine.vision import VisionStage, split_rows

counts_of_items = st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=3), min_size=1, max_size=6)


def spans_of(counts: list[int]) -> list[tuple[int, int]]:
    return [(100 * i, 100 * i + count - 1) for i, count in enumerate(counts)]


@given(counts_of_items)
def test_splitting_undoes_concatenating(counts: list[list[int]]) -> None:
    parts = [torch.rand(sum(c), 3) for c in counts]
    split = split_rows(torch.cat(parts), counts, [spans_of(c) for c in counts])
    assert all(torch.equal(a, b) for a, b in zip(split, parts, strict=True))


@given(counts_of_items, st.data())
def test_a_wrong_item_is_an_error_and_its_neighbours_keep_their_rows(
    counts: list[list[int]], data: st.DataObject
) -> None:
    wrong = data.draw(st.integers(0, len(counts) - 1))
    span = data.draw(st.integers(0, len(counts[wrong]) - 1))
    returned = [list(c) for c in counts]
    returned[wrong][span] += data.draw(st.sampled_from([-1, 1, 5]))
    parts = [torch.rand(sum(c), 3) for c in returned]
    split = split_rows(torch.cat(parts), returned, [spans_of(c) for c in counts])
    error = split[wrong]
    assert isinstance(error, EncoderMismatch)
    assert (error.expected, error.rows) == (sum(counts[wrong]), sum(returned[wrong]))
    assert all(torch.equal(split[i], parts[i]) for i in range(len(counts)) if i != wrong)


def test_rows_shifted_between_spans_of_one_item_are_an_error() -> None:
    [part] = split_rows(torch.rand(6, 2), [[2, 4]], [[(0, 2), (5, 7)]])
    assert isinstance(part, EncoderMismatch)


def test_counts_that_do_not_add_up_are_the_encoders_lie() -> None:
    with pytest.raises(ValueError, match="returned 5 rows but reported"):
        split_rows(torch.rand(5, 2), [[2], [2]], [[(0, 1)], [(0, 1)]])


@pytest.mark.parametrize(("batching", "passes"), [("per_item", [1, 1, 1]), ("cross_request", [3])])
def test_passes_follow_the_toggle(batching: str, passes: list[int]) -> None:
    seen = []

    def encoder(items: list[PreparedItem]) -> list[list[torch.Tensor]]:
        seen.append(len(items))
        return [[each.pixels["pixel_values"].mean(1, keepdim=True)[::4]] for each in items]

    stage = VisionStage(encoder, batching)
    requests = [[item(0, 1.0), item(1, 2.0)], [], [item(0, 3.0)]]
    encoded = stage.encode(requests)
    assert seen == passes
    assert [[part.rows_RD[0, 0].item() for part in parts] for parts in encoded] == [[1.0, 2.0], [], [3.0]]
    assert [part.pass_items for parts in encoded for part in parts] == [max(passes)] * 3
    assert (stage.passes, stage.items) == (len(passes), 3)


def test_a_pass_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reference_engine.vision.MAX_VALUES_A_PASS", 48)
    sizes = []

    def encoder(items: list[PreparedItem]) -> list[list[torch.Tensor]]:
        sizes.append(len(items))
        return [[torch.zeros(1, 2)] for _ in items]

    VisionStage(encoder, "cross_request").encode([[item(0, 0.0)]] * 5)
    assert sizes == [2, 2, 1]


def test_a_pass_holds_one_modality() -> None:
    seen = []

    def encoder(items: list[PreparedItem]) -> list[list[torch.Tensor]]:
        seen.append([each.modality for each in items])
        return [[torch.zeros(1, 2)] for _ in items]

    VisionStage(encoder, "cross_request").encode([[item(0, 0.0), item(0, 0.0, "video")], [item(0, 0.0, "video")]])
    assert seen == [["image"], ["video", "video"]]


def item(index: int, value: float, modality: Modality = "image") -> PreparedItem:
    pixels = {"pixel_values": torch.full((4, 6), value)}
    return PreparedItem(index, (28, 28), [(1, 2, 2)], [(0, 0)], pixels, modality)
