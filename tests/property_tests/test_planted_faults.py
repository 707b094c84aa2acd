"""The properties' own test: each passes on the reference engine and fails once the fault it must catch is planted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SUITE = Path(__file__).parents[2]

CAUGHT_BY = {
    "expand-off-by-one": "test_expansion.py::test_placeholders_expand_in_place",
    "padded-exclusive-end": "test_padded_ids.py::test_both_ends_of_every_span_are_inside",
    "mrope-swap-hw": "test_mrope.py::test_rows_are_the_published_ones",
    "mrope-delta-ignored": "test_mrope.py::test_decoded_tokens_follow_the_delta",
    "F1-01": "test_vit_split.py::test_every_item_gets_its_own_rows",
}


def run_properties(*arguments: str) -> tuple[int, str]:
    """Exit code and output of a run of its own, with the repeatable profile."""
    command = [sys.executable, "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider", "--hypothesis-profile", "ci"]
    done = subprocess.run([*command, *arguments], cwd=SUITE, capture_output=True, text=True, timeout=240)
    return done.returncode, done.stdout + done.stderr


def paths(tests: list[str]) -> list[str]:
    return [f"property_tests/{test}" for test in tests]


def test_the_named_properties_pass_unplanted() -> None:
    code, output = run_properties(*paths(list(CAUGHT_BY.values())))
    assert code == 0, output
    assert f"{len(CAUGHT_BY)} passed" in output


@pytest.mark.parametrize(("fault", "test"), CAUGHT_BY.items())
def test_planted_fault_turns_its_property_red(fault: str, test: str) -> None:
    code, output = run_properties("--plant", fault, *paths([test]))
    assert code == 1, output
    assert f"FAILED property_tests/{test}" in output


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    code, output = run_properties("--implementation", "no-such-engine", "property_tests")
    assert code == 4, output
    assert "unknown implementation 'no-such-engine'; known: reference, transformers" in output


def test_what_an_implementation_lacks_is_skipped_by_name() -> None:
    code, output = run_properties("--implementation", "transformers", "property_tests/test_vit_split.py")
    assert code == 0, output
    assert "passed" not in output.splitlines()[-1]
    assert "unsupported: transformers" in output
    assert "has no split_rows" in output
