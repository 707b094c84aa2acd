"""The properties' own test: each passes on the reference engine and fails once the fault it must catch is planted."""

from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from harness.implementations import get_implementation
from property_tests.profiles import register

SUITE = Path(__file__).parents[2]

CAUGHT_BY = {
    "expand-off-by-one": "test_expansion.py::test_placeholders_expand_in_place",
    "padded-exclusive-end": "test_padded_ids.py::test_both_ends_of_every_span_are_inside",
    "mrope-swap-hw": "test_mrope.py::test_rows_are_the_published_ones",
    "F4-09": "test_mrope.py::test_decoded_tokens_follow_the_delta",
    "F1-01": "test_vit_split.py::test_every_item_gets_its_own_rows",
    "F2-04": "test_cache_keys.py::test_another_shape_has_another_key",
    "F5-17": "test_chunk_rows.py::test_chunks_join_to_the_whole",
    "F6-02": "test_detokenizing.py::test_no_text_waits_once_it_is_certain",
    "F6-08": "test_detokenizing.py::test_pieces_joined_are_the_whole",
    "F6-11": "test_detokenizing.py::test_pieces_joined_are_the_whole",
}


@pytest.fixture(autouse=True)
def _repeatable() -> Iterator[None]:
    before = settings.get_current_profile_name()
    register()
    settings.load_profile("ci")
    yield
    settings.load_profile(before)


def judge(test: str, fault: str | None = None) -> None:
    """Run one property in this process, on the reference engine with this fault. Raises what the property raises."""
    file, name = test.split("::")
    function = getattr(importlib.import_module(f"property_tests.{file.removesuffix('.py')}"), name)
    implementation = get_implementation("reference", fault)
    function(**{needed: getattr(implementation, needed) for needed in inspect.signature(function).parameters})


def run_properties(*arguments: str) -> tuple[int, str]:
    """Exit code and output of a run of its own, with the repeatable profile."""
    command = [sys.executable, "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider", "--hypothesis-profile", "ci"]
    done = subprocess.run([*command, *arguments], cwd=SUITE, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("test", sorted(set(CAUGHT_BY.values())))
def test_the_named_properties_pass_unplanted(test: str) -> None:
    judge(test)


@pytest.mark.parametrize(("fault", "test"), CAUGHT_BY.items())
def test_planted_fault_turns_its_property_red(fault: str, test: str) -> None:
    with pytest.raises((AssertionError, ExceptionGroup)):
        judge(test, fault)


def test_a_run_with_a_planted_fault_is_red() -> None:
    """The way in that a person takes."""
    code, output = run_properties("--plant", "F1-01", f"property_tests/{CAUGHT_BY['F1-01']}")
    assert code == 1, output
    assert f"FAILED property_tests/{CAUGHT_BY['F1-01']}" in output


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    code, output = run_properties("--implementation", "no-such-engine", "property_tests")
    assert code == 4, output
    assert "unknown implementation 'no-such-engine'; known: reference, sglang, transformers, vllm" in output


def test_what_an_implementation_lacks_is_skipped_by_name() -> None:
    code, output = run_properties("--implementation", "transformers", "property_tests/test_vit_split.py")
    assert code == 0, output
    assert "passed" not in output.splitlines()[-1]
    assert "unsupported: transformers" in output
    assert "has no split_rows" in output
