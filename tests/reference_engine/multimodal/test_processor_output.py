"""A processor's output is used again where it is the request's own, and nowhere else (sglang#26116)."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reference_engine import Request, RequestError
from reference_engine.faults import plant
from reference_engine.hf import load_processor
from reference_engine.multimodal.processor_output import (
    ProcessorOutput,
    ids_disagreement,
    positions_disagreement,
)

SLOT = "<|vision_start|><|image_pad|><|vision_end|>"
Process = Callable[[Any], ProcessorOutput]
pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="AutoProcessor of Qwen2.5-VL needs torchvision"
)


@pytest.fixture(scope="module")
def process(lively: Any) -> Process:
    """The checkpoint's own processor, and its model's own positions."""
    processor = load_processor(lively.path)

    def of(case: Any) -> ProcessorOutput:
        made = processor(text=[case.text], images=case.images or None, return_tensors="pt")
        kinds = (made["input_ids"] == lively.oracle.model.config.image_token_id).int()
        positions, delta = lively.oracle.model.model.get_rope_index(
            made["input_ids"], mm_token_type_ids=kinds, image_grid_thw=made.get("image_grid_thw")
        )
        return ProcessorOutput.of(made, positions[:, 0], int(delta))

    return of


@pytest.fixture
def case(make_case: Any, picture: Any) -> Any:
    return make_case(f"two {SLOT}{SLOT} of row", [picture((153, 174), 1), picture((365, 211), 2)], 5, True)


def alone(name: str, given: ProcessorOutput, case: Any) -> Request:
    return replace(case.request(name), images=[], text=None, processor_output=given)


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("with_images", [True, False])
def test_answers_equal_those_from_images(
    lively: Any, process: Process, make_cases: Any, on: bool, with_images: bool
) -> None:
    engine = lively.engine(reuse_processor_output=on)
    for i, case in enumerate(make_cases(5, seed=31)):
        given = process(case)
        request = case.request(f"r{i}", processor_output=given, want_evidence=True)
        if not with_images:
            request = replace(alone(f"a{i}", given, case), want_evidence=True)
        expected, answer = engine.generate([case.request(f"p{i}", want_evidence=True), request])
        assert answer.error is None
        assert (answer.output_ids, answer.evidence.prompt_ids) == (expected.output_ids, given.input_ids)
        assert answer.evidence.positions_digest == expected.evidence.positions_digest
        assert [item.spans for item in answer.evidence.items] == [item.spans for item in expected.evidence.items]
        toggle = answer.evidence.toggles["reuse_processor_output"]
        assert toggle["acted"] == on
        assert ("positions with delta" in toggle["reason"]) == on
    plain = expected.evidence.toggles["reuse_processor_output"]
    assert (plain["acted"], plain["reason"]) == (False, "the request carries no processor output")


def test_pixels_that_are_used_again_are_those_given(lively: Any, process: Process, case: Any) -> None:
    given = process(case)
    marked = replace(given, tensors=given.tensors | {"pixel_values": given.tensors["pixel_values"] + 1})
    for on in (True, False):
        prompt = lively.engine(reuse_processor_output=on).prepare(case.request("m", processor_output=marked))
        pixels = torch.cat([item.pixels["pixel_values"] for item in prompt.items])
        assert torch.equal(pixels, given.tensors["pixel_values"] + on)


def test_another_prompt_of_the_same_length_is_computed_again(
    lively: Any, process: Process, case: Any, caplog: pytest.LogCaptureFixture
) -> None:
    other = replace(case, text=case.text.replace("row", "col"))
    given = process(other)
    assert len(given.input_ids) == len(process(case).input_ids)
    with caplog.at_level(logging.WARNING):
        prompt = lively.engine().prepare(case.request("o", processor_output=given))
    assert prompt.ids == process(case).input_ids
    assert not prompt.reuse.acted
    assert "are not the" in prompt.reuse.reason
    assert "at place" in caplog.text
    with pytest.raises(RequestError, match="no images were sent to compute it again from") as caught:
        lively.engine().prepare(replace(case.request("n", processor_output=given), images=[]))
    assert (caught.value.field, caught.value.status) == ("processor_output", 422)
    wrong = lively.engine(plant="reuse-ids-by-length").prepare(case.request("f", processor_output=given))
    assert wrong.reuse.acted


def test_images_of_another_size_are_computed_again(lively: Any, process: Process, case: Any, picture: Any) -> None:
    """Transposed: as many tokens, other grids."""
    turned = replace(case, images=[picture((174, 153), 1), case.images[1]])
    prompt = lively.engine().prepare(turned.request("t", processor_output=process(case)))
    assert "its item 0 has grids" in prompt.reuse.reason
    assert prompt.items[0].grids == [(1, *reversed(process(case).tensors["image_grid_thw"][0, 1:].tolist()))]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p, d: (p[:, :-1], d), "have shape [3, "),
        (lambda p, d: (torch.cat([p, p[:, -1:]], dim=1), d), "have shape [3, "),
        (lambda p, d: (p[:2], d), "have shape [2, "),
        (lambda p, d: (p[:, None], d), "have shape [3, 1, "),
        (lambda p, d: (p, d + 1), "delta is"),
        (lambda p, d: (p, None), "delta is None"),
        (lambda p, d: (p.float(), d), "torch.float32, not integers"),
        (lambda p, d: (p.clone().index_fill_(1, torch.tensor([0]), 1), d), "do not count the"),
        (lambda p, d: (None, None), "it has none"),
    ],
)
def test_positions_that_do_not_fit_are_computed_again(
    lively: Any, process: Process, case: Any, change: Any, words: str
) -> None:
    given = process(case)
    right = lively.engine().prepare(case.request("r"))
    positions, delta = change(given.mrope_positions, given.mrope_position_delta)
    changed = replace(given, mrope_positions=positions, mrope_position_delta=delta)
    prompt = lively.engine().prepare(case.request("c", processor_output=changed))
    assert torch.equal(prompt.positions_3L, right.positions_3L)
    assert prompt.delta == right.delta
    assert prompt.reuse.acted
    assert not prompt.reuse.positions
    assert words in prompt.reuse.reason


def test_a_check_that_ignores_the_length_shows(lively: Any, process: Process, case: Any) -> None:
    given = process(case)
    short = replace(given, mrope_positions=given.mrope_positions[:, :-1])
    prompt = lively.engine(plant="reuse-positions-any-length").prepare(case.request("s", processor_output=short))
    assert prompt.positions_3L.shape[1] != len(prompt.ids)


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"pixel_values": torch.zeros(4, 1176)}, "image_grid_thw are needed"),
        ({"pixel_values": torch.zeros(4, 1176), "image_grid_thw": torch.tensor([1, 2, 2])}, r"integers \[images, 3\]"),
        ({"pixel_values": torch.zeros(4, 1176), "image_grid_thw": torch.tensor([[1, 2, 3]])}, "no image's grid"),
        ({"pixel_values": torch.zeros(4, 1176), "image_grid_thw": torch.tensor([[1, 4, 2]])}, r"need floats \[8, 1176"),
        ({"pixel_values": torch.zeros(4, 9), "image_grid_thw": torch.tensor([[1, 2, 2]])}, r"need floats \[4, 1176"),
    ],
)
def test_tensors_that_do_not_fit_are_refused_by_name(lively: Any, tensors: dict[str, Any], words: str) -> None:
    ids = [5, lively.engine().family.placeholders["image"]]
    with pytest.raises(RequestError, match=words) as caught:
        lively.engine().prepare(Request("t", processor_output=ProcessorOutput(ids, tensors)))
    assert (caught.value.field, caught.value.status) == ("processor_output.tensors", 400)


@given(st.lists(st.integers(0, 3), max_size=8), st.lists(st.integers(0, 3), max_size=8))
def test_ids_are_compared_in_full(first: list[int], second: list[int]) -> None:
    assert (ids_disagreement(first, second) is None) == (first == second)


@settings(deadline=None)
@given(st.integers(1, 20), st.integers(-3, 3), st.integers(-2, 2), st.integers(0, 20))
def test_only_positions_of_the_length_with_their_own_delta_fit(length: int, more: int, off: int, first: int) -> None:
    positions = torch.arange(max(length + more, 1)).expand(3, -1)
    fits = positions_disagreement(positions, off, length, min(first, length)) is None
    assert fits == (positions.shape[1] == length and off == 0)


@pytest.mark.parametrize("fault", ["reuse-ids-by-length", "reuse-positions-any-length"])
def test_planted_faults_turn_the_checks_blind(fault: str) -> None:
    seams = plant(fault)
    if fault == "reuse-ids-by-length":
        assert seams.ids_disagreement([1, 2], [1, 3]) is None
    else:
        assert seams.positions_disagreement(torch.arange(4).expand(3, -1), 0, 5, 0) is None
