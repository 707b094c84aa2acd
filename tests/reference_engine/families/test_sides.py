"""Text side, pixel side and model side of every family agree, span by span; and a split that mixes spans up is seen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from reference_engine import EncoderMismatch, RequestError
from reference_engine.multimodal.placeholders import Size
from reference_engine.vision import split_rows

SIZES = [
    (365, 211), (153, 174), (337, 337), (161, 184), (11, 3), (26, 28), (332, 27), (2, 2), (1093, 5), (84, 56),
    (1, 199), (1000, 28), (640, 480),
]  # fmt: skip
"""Near rounding edges, tiny, flat; each is tried transposed as well."""


def prepared(family: Any, sizes: list[Size], noise: Any, name: str = "a") -> Any:
    text = "<|im_start|>" + "x".join(str(family.markup.image) for _ in sizes) + "."
    images = [noise(size, i) for i, size in enumerate(sizes)]
    return family.engine().prepare(family.request(name, text=text, images=images))


@pytest.mark.parametrize("size", [s for w, h in SIZES for s in ((w, h), (h, w))], ids="{0[0]}x{0[1]}".format)
def test_every_span_gets_as_many_rows_as_it_holds(looking_family: Any, noise: Any, size: Size) -> None:
    """Invariant 1. A size that a family cannot serve is refused with its field, before anything is encoded."""
    engine = looking_family.engine()
    try:
        prompt = prepared(looking_family, [size], noise)
    except RequestError as error:
        assert (error.status, error.field) == (400, "image_data[0]")  # noqa: PT017
        assert max(size) / min(size) > 100, "only extreme shapes are refused"
        return
    with torch.inference_mode():
        [rows] = engine.vision.encoder(prompt.items)
    assert [len(part) for part in rows] == [last - first + 1 for first, last in prompt.items[0].spans]


def test_a_batch_is_as_many_runs_alone(looking_family: Any, noise: Any) -> None:
    """Invariant 2: whoever shares the pass, each span keeps its own rows; mixed sizes, in both orders."""
    engine = looking_family.engine()
    items = [prepared(looking_family, [size], noise).items[0] for size in [(84, 56), (365, 211), (56, 84), (161, 184)]]
    with torch.inference_mode():
        alone = [engine.vision.encoder([item])[0] for item in items]
        for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
            together = engine.vision.encoder([items[i] for i in order])
            for i, spans in zip(order, together, strict=True):
                assert [len(part) for part in spans] == [len(part) for part in alone[i]]
                for got, right in zip(spans, alone[i], strict=True):
                    torch.testing.assert_close(got, right, rtol=1e-4, atol=1e-4)


def test_several_spans_an_item_are_checked_one_by_one(family_of_tiles: Any, noise: Any) -> None:
    """Rows moved from one span to the next leave an item's total as it was, and are an error all the same."""
    engine = family_of_tiles.engine()
    item = prepared(family_of_tiles, [(365, 211)], noise).items[0]
    assert len(item.spans) > 2
    with torch.inference_mode():
        [parts] = engine.vision.encoder([item])
    counts = [len(part) for part in parts]
    [clean] = split_rows(torch.cat(parts), [counts], [item.spans])
    assert torch.equal(clean, torch.cat(parts))
    counts[0], counts[1] = counts[0] - 1, counts[1] + 1
    [wrong] = split_rows(torch.cat(parts), [counts], [item.spans])
    assert isinstance(wrong, EncoderMismatch)


def test_splitting_by_the_first_span_is_seen(family_of_tiles: Any, noise: Any) -> None:
    """The split that was reported (sglang#26442), on a real family of several spans: the sliced item fails."""
    text = f"<|im_start|>{family_of_tiles.markup.image}."
    sizes = [(365, 211), (84, 56)]
    requests = [family_of_tiles.request(str(i), text=text, images=[noise(s, i)]) for i, s in enumerate(sizes)]
    assert [a.error for a in family_of_tiles.engine().generate(requests)] == [None, None]
    broken = family_of_tiles.engine(plant="F1-01").generate(requests)
    assert isinstance(broken[0].error, EncoderMismatch)


def test_positions_have_three_rows_and_every_one_counts(looking_family: Any, noise: Any) -> None:
    """Invariant 10. Without MRoPE the rows are one and the same count."""
    engine = looking_family.engine()
    prompt = prepared(looking_family, [(84, 56)], noise)
    assert prompt.positions_3L.shape == (3, len(prompt.ids))
    if not engine.family.traits.mrope:
        assert torch.equal(prompt.positions_3L, torch.arange(len(prompt.ids)).expand(3, -1))
        return
    request = looking_family.request("a", text="unused", images=[noise((84, 56), 0)], want_logprobs=True)
    right = answer(engine, request, prompt)
    for row in range(3):
        moved = prompt.positions_3L.clone()
        first, last = prompt.items[0].spans[0]
        moved[row, first : last + 1] += 3
        assert abs(answer(engine, request, replace(prompt, positions_3L=moved, chain=None)) - right) > 1e-5


def answer(engine: Any, request: Any, prompt: Any) -> float:
    """The first log-probability of a prompt as given."""
    engine.submit(request, replace(prompt, chain=None))
    answers = [o.answer for _ in range(20) if engine.has_work() for o in engine.step() if o.answer]
    return float(answers[0].logprobs[0])


def test_rows_of_deepstack_layers_stay_with_their_tokens(noise: Any, bench_of: Any) -> None:
    """Invariant 12: moved by one row they change the answer, so the equality in chunks says that they were not."""
    family = bench_of("random-qwen3-vl")
    engine = family.engine(encoder_cache=False, prefix_cache=False)
    text = f"<|im_start|>{family.markup.image}."
    request = family.request("a", text=text, images=[noise((84, 56), 0)], want_logprobs=True)
    [right] = engine.generate([request])
    clean = engine.vision.encoder
    width = engine.runner.decoder.embed(torch.tensor([5])).shape[1]

    def rolled(items: Any) -> Any:
        return [[torch.cat([p[:, :width], p[:, width:].roll(1, 0)], dim=1) for p in spans] for spans in clean(items)]

    engine.vision.encoder = rolled
    try:
        [wrong] = engine.generate([replace(request, request_id="b")])
    finally:
        engine.vision.encoder = clean
    assert abs(wrong.logprobs[0] - right.logprobs[0]) > 1e-3
