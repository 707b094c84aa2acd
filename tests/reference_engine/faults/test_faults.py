"""Each fault changes what it says it changes, and a clean engine goes through no fault."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import Any

import pytest
import torch

from reference_engine import ConfigError, EncoderMismatch, EngineConfig, Request
from reference_engine.faults import CLEAN, FAULTS, Fault, Seams, find_fault, plant, read_reports
from reference_engine.multimodal import mrope, placeholders
from reference_engine.server.seams import CLEAN_SERVING, ServingSeams, plant_serving
from reference_engine.vision import split_rows


def test_the_clean_seams_are_the_functions_themselves() -> None:
    assert plant(None) is CLEAN
    assert CLEAN.split_rows is split_rows
    assert CLEAN.mrope_positions is mrope.mrope_positions
    assert CLEAN.expand_input_ids is placeholders.expand_input_ids


def test_every_fault_replaces_known_seams_with_something_else() -> None:
    names = {f.name for f in fields(Seams)}
    serving = {f.name for f in fields(ServingSeams)}
    for fault_id, fault in FAULTS.items():
        assert fault_id == fault.id
        assert fault.replaces
        assert set(fault.replaces) <= names | serving
        for name in fault.replaces:
            planted, clean = (plant(fault_id), CLEAN) if name in names else (plant_serving(fault_id), CLEAN_SERVING)
            assert getattr(planted, name) is not getattr(clean, name)
        assert fault.reference and fault.summary and fault.invariant  # noqa: PT018


def test_every_report_is_planted_merged_or_impossible_and_only_one_of_these() -> None:
    reports = read_reports()
    assert len(set(reports.ids)) == len(reports.ids) == 128
    places = Counter([*(fault for fault in FAULTS if fault in reports.ids), *reports.merged, *reports.unplanted])
    assert places == Counter(reports.ids)
    assert set(reports.merged.values()) <= set(FAULTS)
    assert all(len(reason) > 20 for reason in reports.unplanted.values())
    assert len(set(FAULTS) & set(reports.ids)) >= 100


def test_an_unknown_fault_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"unknown fault 'F9-99'; known: F1-01, "):
        plant("F9-99")


def deaf(engine: Any) -> None:
    """14: nobody who comes is heard"""
    engine.scheduler.add = lambda live: None


OWN = Fault("own", "nobody", "nothing is split", "2: a batch of N == N runs alone", {"split_rows": lambda *given: []})


def test_a_fault_of_somebody_else_is_planted_by_its_name(lively: Any) -> None:
    assert plant(f"{__name__}:OWN").split_rows() == []
    assert find_fault(f"{__name__}:OWN").invariant_number == 2
    engine = lively.engine(plant=f"{__name__}:deaf")
    engine.submit(Request("a", text="hello"))
    assert engine.step() == []
    assert find_fault(f"{__name__}:deaf").summary == "nobody who comes is heard"


@pytest.mark.parametrize("name", ["no_such_module:x", f"{__name__}:no_such", f"{__name__}:Any", "json:dumps", ":"])
def test_what_is_no_fault_is_refused_by_its_name(name: str) -> None:
    with pytest.raises(ConfigError, match="plant: '"):
        find_fault(name)


def test_f1_01_shifts_everything_after_a_sliced_item() -> None:
    rows = torch.arange(12.0)[:, None]
    counts = [[2], [3, 4], [2], [1]]
    spans = [[(0, 1)], [(0, 2), (5, 8)], [(0, 1)], [(3, 3)]]
    clean = split_rows(rows, counts, spans)
    wrong = plant("F1-01").split_rows(rows, counts, spans)
    assert [part[:, 0].tolist() for part in clean] == [[0, 1], [2, 3, 4, 5, 6, 7, 8], [9, 10], [11]]
    assert isinstance(wrong[1], EncoderMismatch)
    assert (wrong[1].rows, wrong[1].expected) == (3, 7)
    assert [part[:, 0].tolist() for part in (wrong[0], *wrong[2:])] == [[0, 1], [5, 6], [7]]


@pytest.mark.parametrize("plant_id", ["mrope-swap-hw", "F4-09"])
def test_position_faults_change_answers(lively: Any, make_case: Any, picture: Any, plant_id: str) -> None:
    case = make_case("<|vision_start|><|image_pad|><|vision_end|>read", [picture((56, 140), 0)], 5, True)
    expected = lively.oracle.generate(case)
    [answer] = lively.engine(plant=plant_id).generate([case.request("a")])
    first = 1 if plant_id == "F4-09" else 0
    assert answer.logprobs[:first] == pytest.approx(expected.logprobs[:first], abs=1e-3)
    assert abs(answer.logprobs[first] - expected.logprobs[first]) > 1e-2 or answer.output_ids != expected.ids


def test_one_placeholder_too_many_is_refused_before_anything_runs(lively: Any, make_case: Any, picture: Any) -> None:
    case = make_case("<|vision_start|><|image_pad|><|vision_end|>read", [picture((56, 140), 0)])
    [answer] = lively.engine(plant="expand-off-by-one").generate([case.request("a")])
    assert answer.error.status == 500
    assert "hold [11] placeholders" in str(answer.error)
    assert EngineConfig().plant is None
