"""Recordings: the key holds everything that is baked in, padding touches nobody, and live inputs are read at replay.

``call_again`` replays on a CPU what a graph would: the same call on the buffers and numbers of the recording.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from reference_engine.attention import PagedStep, Window
from reference_engine.attention.sdpa import SDPAStep
from reference_engine.graphs import MOST_RECORDINGS, DecodeGraphs, call_again, layout, padded_rows
from reference_engine.kv_cache import KVCache

WIDTH = 8


def new_cache() -> KVCache:
    return KVCache(
        layers=1, heads=1, width=WIDTH, blocks=40, block_size=4, lanes=12, longest=80, dtype=torch.float32,
        device="cpu",
    )  # fmt: skip


def forward(x_BE: Tensor, positions_3B: Tensor, step: PagedStep) -> Tensor:
    """A decoder of one layer: its query is the input turned by the position, and so are key and value."""
    turned_11BE = (x_BE + 0.02 * positions_3B.sum(0)[:, None])[None, None]
    return step.attend(0, turned_11BE, turned_11BE, turned_11BE.sin(), 0.1).flatten(1)


def filled(seed: int = 0) -> KVCache:
    """Twelve lanes with random contexts."""
    cache = new_cache()
    generator = torch.Generator().manual_seed(seed)
    assert [cache.open(9) for _ in range(12)] == list(range(12))
    cache.keys_NKSHD[:, :-1].normal_(generator=generator)
    cache.values_NKSHD[:, :-1].normal_(generator=generator)
    return cache


def inputs(lengths: Sequence[int], seed: int) -> tuple[Tensor, Tensor, list[Window]]:
    generator = torch.Generator().manual_seed(seed)
    x_BE = torch.randn(len(lengths), WIDTH, generator=generator)
    positions_3B = torch.randint(0, 50, (3, len(lengths)), generator=generator)
    return x_BE, positions_3B, [Window(lane, length - 1, length) for lane, length in enumerate(lengths)]


def both(graphs: DecodeGraphs, plain: KVCache, lengths: Sequence[int], seed: int) -> tuple[Tensor, Tensor]:
    """What the recordings give, and what the same step gives without them on a cache of its own."""
    x_BE, positions_3B, windows = inputs(lengths, seed)
    return graphs.run(x_BE, positions_3B, windows).clone(), forward(x_BE, positions_3B, SDPAStep(plain, windows))


def test_replays_equal_plain_steps() -> None:
    cache, plain = filled(), filled()
    graphs = DecodeGraphs(forward, cache, SDPAStep, call_again)
    for seed, lengths in enumerate([[3], [9], [1, 8], [8, 8, 2], [4] * 7, [9, 3] * 5, [5], [2, 9], [7] * 7]):
        got, expected = both(graphs, plain, lengths, seed)
        assert torch.allclose(got, expected, atol=1e-6), lengths
    assert torch.equal(cache.keys_NKSHD[:, :-1], plain.keys_NKSHD[:, :-1]), "padding rows wrote to a request's block"
    assert len(graphs) < graphs.replays == 9


def test_zeroing_a_live_input_changes_the_output() -> None:
    """Every tensor of the second call is read at replay, none is baked in."""
    graphs = DecodeGraphs(forward, filled(), SDPAStep, call_again)
    x_BE, positions_3B, windows = inputs([5, 7], 1)
    before = graphs.run(x_BE, positions_3B, windows).clone()
    assert torch.equal(graphs.run(x_BE, positions_3B, windows), before)
    changed = [
        graphs.run(x_BE * 0, positions_3B, windows).clone(),
        graphs.run(x_BE, positions_3B * 0, windows).clone(),
        graphs.run(x_BE, positions_3B, [Window(2, 4, 5), Window(3, 6, 7)]).clone(),
        graphs.run(x_BE, positions_3B, [Window(0, 3, 4), Window(1, 5, 6)]).clone(),
    ]
    assert len(graphs) == 1
    assert not any(torch.allclose(out, before) for out in changed)


class BakedLongest(SDPAStep):
    """A step that looks at a number of its own, as kernels look at a longest length."""

    def __init__(self, cache: KVCache, windows: Sequence[Window]) -> None:
        super().__init__(cache, windows)
        self.longest = max(w.stop for w in windows if w.lane != cache.scratch_lane)

    def attend(self, *args: Any) -> Tensor:
        return super().attend(*args) * self.longest


BakedLongest.__module__ = SDPAStep.__module__


def test_a_number_of_a_step_is_in_the_key() -> None:
    plain = filled()
    graphs = DecodeGraphs(forward, filled(), BakedLongest, call_again)
    for seed, longest in enumerate([5, 6, 5, 8]):
        x_BE, positions_3B, windows = inputs([longest], seed)
        expected = forward(x_BE, positions_3B, BakedLongest(plain, windows))
        assert torch.allclose(graphs.run(x_BE, positions_3B, windows), expected, atol=1e-5)
    assert len(graphs) == 3


def test_recordings_are_bounded() -> None:
    """A backend whose layout never comes back, as tiles of every context's own length."""
    graphs = DecodeGraphs(forward, filled(), NeverAlike, call_again)
    x_BE, positions_3B, windows = inputs([5], 1)
    first = graphs.run(x_BE, positions_3B, windows).clone()
    for _ in range(MOST_RECORDINGS + 3):
        assert torch.equal(graphs.run(x_BE, positions_3B, windows), first)
    assert len(graphs) == MOST_RECORDINGS


class NeverAlike(SDPAStep):
    made = 0

    def __init__(self, cache: KVCache, windows: Sequence[Window]) -> None:
        super().__init__(cache, windows)
        NeverAlike.made += 1
        self.number = NeverAlike.made


NeverAlike.__module__ = SDPAStep.__module__


def test_a_layer_that_reads_the_windows_cannot_be_recorded() -> None:
    def reads(x_BE: Tensor, positions_3B: Tensor, step: Any) -> Tensor:
        return x_BE * len(step.windows)

    with pytest.raises(AttributeError, match="windows"):
        DecodeGraphs(reads, filled(), SDPAStep, call_again).run(*inputs([5], 1))


@pytest.mark.parametrize(
    "other",
    [
        torch.zeros(2, 4),
        torch.zeros(4, 3),
        torch.zeros(4, 2).t(),
        torch.zeros(2, 3, dtype=torch.float64),
        torch.zeros(2, 3, device="meta"),
    ],
)
def test_every_trait_of_a_tensor_is_in_the_key(other: Tensor) -> None:
    assert list(layout([other])) != list(layout([torch.zeros(2, 3)]))
    assert list(layout([torch.ones(2, 3)])) == list(layout([torch.zeros(2, 3)]))


def test_what_the_walk_does_not_know_is_refused() -> None:
    with pytest.raises(TypeError, match="a set in a step"):
        list(layout([{1, 2}]))


def test_there_is_always_a_padding_row() -> None:
    assert [padded_rows(n) for n in (1, 2, 3, 4, 7, 8, 63, 64)] == [2, 4, 4, 8, 8, 16, 64, 72]


@pytest.mark.parametrize("chunked_prefill", [0, 5])
def test_an_engine_answers_the_same(lively: Any, make_cases: Callable[..., list[Any]], chunked_prefill: int) -> None:
    cases = make_cases(6, seed=5, max_images=1)
    requests = [case.request(str(i), want_evidence=True) for i, case in enumerate(cases)]
    plain, replayed = (
        lively.engine(cuda_graph=on, chunked_prefill=chunked_prefill).generate(requests) for on in (False, True)
    )
    assert [a.output_ids for a in replayed] == [a.output_ids for a in plain]
    assert any(a.evidence.toggles["cuda_graph"]["acted"] for a in replayed)
    assert not any(a.evidence.toggles["cuda_graph"]["acted"] for a in plain)
