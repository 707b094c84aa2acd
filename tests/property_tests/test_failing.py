"""A failing example is printed as a script that fails alone, kept when asked for, and tried first from then on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from property_tests.failing import Failing, kept, last_failing, try_first, watch
from property_tests.strategies import Segment

SUITE = Path(__file__).parents[2]


def test_the_smallest_failing_call_is_remembered_once() -> None:
    @given(number=st.integers(0, 1000))
    def property_(limit: int, number: int) -> None:
        assert number < limit

    watch(property_)
    try:
        property_(limit=10)
    except AssertionError:
        found = last_failing("test_x.py", property_, ["limit"])
        assert found is not None
        assert (found.given, found.drawn) == ({"limit": 10}, {"number": 10})
    assert last_failing("test_x.py", property_, ["limit"]) is None


def test_a_script_fails_alone() -> None:
    """F1-01 splits by the first span: the script shows it without pytest."""
    rows = "EncoderBatch(items=[[(0.0, 1.0), (2.0, 3.0)], [(4.0, 5.0)]], counts=[[1, 1], [1]])"
    batch = eval(rows, vars(__import__("property_tests.strategies", fromlist=["x"])))
    failing = Failing("test_vit_split.py", "test_every_item_gets_its_own_rows", {"split_rows": None}, {"batch": batch})
    for plant, ends in (("F1-01", 1), (None, 0)):
        script = failing.script("reference", plant, None)
        done = subprocess.run([sys.executable, "-c", script], cwd=SUITE, capture_output=True, text=True, timeout=120)
        assert done.returncode == ends, done.stderr


def test_what_is_kept_is_tried_first(tmp_path: Path) -> None:
    failing = Failing("test_x.py", "test_y", {}, {"prompt": [Segment("text", 3)], "padding": 2})
    (tmp_path / "kept.toml").write_text(failing.entry())
    [arguments] = kept(tmp_path / "kept.toml")["test_x.py::test_y"]
    assert arguments == failing.drawn
    seen: list[object] = []

    @given(prompt=st.none(), padding=st.none())
    def property_(prompt: object, padding: object) -> None:
        seen.append(padding)

    try_first(property_, [arguments])
    property_()
    assert seen[0] == 2


def test_every_kept_example_is_of_a_property_that_exists() -> None:
    for test in kept():
        file, name = test.split("::")
        assert f"def {name}(" in (SUITE / "property_tests" / file).read_text()
