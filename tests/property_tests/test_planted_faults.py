"""The properties' own test: each passes on the reference engine and fails once the fault it must catch is planted."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import Phase, settings

from harness.implementations import get_implementation
from harness.implementations.base import Implementation
from property_tests.conftest import CASES
from property_tests.profiles import register

from .mutants import MUTANTS

SUITE = Path(__file__).parents[2]

CAUGHT_BY = {
    "expand-off-by-one": [
        "test_counting.py::test_expanding_what_was_counted_holds_that_many",
        "test_expansion.py::test_placeholders_expand_in_place",
        "test_expansion.py::test_contracting_gives_back_the_ids_sent",
    ],
    "padded-exclusive-end": [
        "test_padded_ids.py::test_spans_hold_the_value_and_the_rest_is_untouched",
        "test_padded_ids.py::test_both_ends_of_every_span_are_inside",
        "test_padded_ids.py::test_another_image_changes_ids_from_its_first_position_on_and_none_before",
    ],
    "mrope-swap-hw": [
        "test_mrope.py::test_rows_are_the_published_ones",
        "test_mrope.py::test_images_with_no_text_between_keep_their_own_places",
        "test_mrope.py::test_windows_join_to_the_whole",
    ],
    "F4-09": ["test_mrope.py::test_decoded_tokens_follow_the_delta"],
    "F1-01": [
        "test_vit_split.py::test_every_item_gets_its_own_rows",
        "test_vit_split.py::test_a_batch_is_its_items_alone",
        "test_vit_split.py::test_a_mismatch_fails_that_item_alone",
        "test_vit_split.py::test_equal_totals_with_other_boundaries_are_a_mismatch",
    ],
    "F2-03": ["test_block_keys.py::test_as_many_images_as_block_keys"],
    "F2-09": ["test_block_keys.py::test_another_image_changes_keys_from_its_first_block_on_and_none_before"],
    "F2-20": ["test_block_keys.py::test_another_image_changes_keys_from_its_first_block_on_and_none_before"],
    "F3-13": ["test_request_fields.py::test_every_field_reaches_every_request_of_a_batch"],
    "null-fields": ["test_protocol.py::test_an_answer_tells_what_was_asked_and_no_more"],
    "F4-16": ["test_reuse.py::test_positions_of_another_number_of_rows_are_not_used"],
    "reuse-positions-any-length": [
        "test_reuse.py::test_positions_of_another_length_are_not_used",
        "test_reuse.py::test_a_delta_that_is_not_theirs_is_not_used",
    ],
    "reuse-ids-by-length": ["test_reuse.py::test_other_ids_of_the_same_length_are_another_prompt"],
    "F7-01": ["test_pictures.py::test_pictures_are_upright"],
    "F7-03": ["test_pictures.py::test_every_mode_is_read_as_its_colours"],
    "F2-01": ["test_cache_keys.py::test_many_images_have_as_many_keys"],
    "F2-07": ["test_cache_keys.py::test_the_last_pixel_of_a_large_image_counts"],
    "fix-wider-hash": ["test_cache_keys.py::test_many_images_have_as_many_keys"],
    "F2-04": ["test_cache_keys.py::test_another_shape_has_another_key"],
    "F2-17": [
        "test_cache_keys.py::test_other_pixels_have_another_key",
        "test_cache_keys.py::test_another_dtype_has_another_key",
    ],
    "F3-04": [
        "test_expansion.py::test_expanding_twice_is_expanding_once",
        "test_expansion.py::test_a_placeholder_without_image_is_refused",
    ],
    "F5-17": ["test_chunk_rows.py::test_chunks_join_to_the_whole"],
    "F6-02": ["test_detokenizing.py::test_no_text_waits_once_it_is_certain"],
    "F6-08": ["test_detokenizing.py::test_pieces_joined_are_the_whole"],
    "F6-11": ["test_detokenizing.py::test_pieces_joined_are_the_whole"],
    "F9-03": ["test_expansion.py::test_an_image_without_placeholder_is_refused"],
}
"""Fault of the engine's catalogue -> the properties that it turns red."""
RED = (AssertionError, BaseExceptionGroup, pytest.fail.Exception, IndexError)
"""What a property raises. F9-03 crashes where it should refuse."""
CAUGHT = [(fault, test) for fault, tests in CAUGHT_BY.items() for test in tests]


@pytest.fixture(autouse=True)
def _found_but_not_shrunk() -> Iterator[None]:
    before = settings.get_current_profile_name()
    register()
    phases = [Phase.explicit, Phase.generate, Phase.target]
    settings.register_profile("caught", settings.get_profile("ci"), phases=phases)
    settings.load_profile("caught")
    yield
    settings.load_profile(before)


def properties() -> dict[str, Callable[..., None]]:
    """Every property of the suite, by ``file::test``."""
    found = {}
    for file in sorted((SUITE / "property_tests").glob("test_*.py")):
        module = importlib.import_module(f"property_tests.{file.stem}")
        mine = [f for f in vars(module).values() if getattr(f, "__module__", "") == module.__name__]
        found |= {f"{file.name}::{f.__name__}": f for f in mine if f.__name__.startswith("test_")}
    return found


def judge(test: str, implementation: Implementation) -> None:
    """Run one property in this process. Raises what the property raises."""
    function = properties()[test]
    asked = inspect.signature(function).parameters
    needed = [name for name in asked if name in Implementation.capabilities()]
    arguments = {name: getattr(implementation, name) for name in needed}
    given = {name: implementation.families[needed[0]] for name in CASES if name in asked}
    given |= {mark.args[0]: mark.args[1] for mark in getattr(function, "pytestmark", [])}
    for values in product(*given.values()):
        function(**arguments, **dict(zip(given, values, strict=True)))


def run_properties(*arguments: str) -> tuple[int, str]:
    """Exit code and output of a run of its own, with the repeatable profile."""
    command = [sys.executable, "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider", "--hypothesis-profile", "ci"]
    done = subprocess.run([*command, *arguments], cwd=SUITE, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stdout + done.stderr


def test_every_property_can_be_turned_red() -> None:
    assert {test for _, test in CAUGHT} | set(MUTANTS) == set(properties())


@pytest.mark.parametrize(("fault", "test"), CAUGHT)
def test_planted_fault_turns_its_property_red(fault: str, test: str) -> None:
    with pytest.raises(RED):
        judge(test, get_implementation("reference", fault))


@pytest.mark.parametrize("test", MUTANTS)
def test_a_wrong_front_end_turns_its_property_red(test: str) -> None:
    capability, wrong = MUTANTS[test]
    right = get_implementation("reference")
    with pytest.raises(RED):
        judge(test, replace(right, **{capability: wrong(getattr(right, capability))}))


def test_a_run_with_a_planted_fault_is_red() -> None:
    """The way in that a person takes."""
    code, output = run_properties("--plant", "F1-01", f"property_tests/{CAUGHT_BY['F1-01'][0]}")
    assert code == 1, output
    assert f"FAILED property_tests/{CAUGHT_BY['F1-01'][0]}" in output


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    code, output = run_properties("--implementation", "no-such-engine", "property_tests")
    assert code == 4, output
    assert (
        "unknown implementation 'no-such-engine'; known: reference, sglang, transformers, vllm, or module:function"
        in output
    )


def test_what_an_implementation_lacks_is_skipped_by_name() -> None:
    code, output = run_properties("--implementation", "transformers", "property_tests/test_vit_split.py")
    assert code == 0, output
    assert "passed" not in output.splitlines()[-1]
    assert "unsupported: transformers" in output
    assert "has no split_rows" in output
