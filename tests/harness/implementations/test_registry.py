from __future__ import annotations

from pathlib import Path

import pytest

from harness.implementations import REMOTE, get_implementation, implementation_names
from harness.implementations.base import Implementation, Unsupported


def test_unknown_implementation_lists_the_known_ones() -> None:
    with pytest.raises(LookupError, match="unknown implementation 'vlm9'; known: reference, sglang, transf"):
        get_implementation("vlm9")


def test_unknown_fault_lists_the_known_ones() -> None:
    with pytest.raises(LookupError, match="unknown fault 'F9-99'; known: F1-01"):
        get_implementation("reference", "F9-99")


def test_no_fault_can_be_planted_in_somebody_elses_engine() -> None:
    with pytest.raises(LookupError, match="cannot be planted in transformers"):
        get_implementation("transformers", "F1-01")


@pytest.mark.parametrize("name", REMOTE)
def test_a_remote_implementation_asks_for_its_python(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(f"ASSAY_PYTHON_{name.upper()}", raising=False)
    with pytest.raises(LookupError, match=f"--implementation-python or ASSAY_PYTHON_{name.upper()}"):
        get_implementation(name)


@pytest.mark.parametrize("name", sorted(set(implementation_names()) - set(REMOTE)))
def test_every_implementation_names_itself_and_offers_something(name: str) -> None:
    found = get_implementation(name)
    assert found.name == name
    assert found.version[0].isdigit()
    assert found.supported()


def test_the_reference_offers_everything() -> None:
    assert get_implementation("reference").supported() == Implementation.capabilities()


def test_a_missing_capability_is_named_with_version_and_reason() -> None:
    bare = Implementation("bare", "1.2", reasons={"pad_ids": "it has no prefix cache"})
    with pytest.raises(Unsupported, match=r"^unsupported: bare 1\.2 has no pad_ids: it has no prefix cache$"):
        bare.require("pad_ids")


def test_every_family_that_counts_is_measured_or_has_its_reason() -> None:
    from harness.implementations.transformers_processors import UNBUILT, families, measurable

    assert set(measurable()) | set(UNBUILT) == set(families())
    assert len(measurable()) >= 40


MINE = """
from harness.implementations.base import Expansion, Implementation

def expand_ids(ids, placeholder, replacements):
    ids, left, spans = list(ids), list(replacements), []
    return Expansion(ids, spans)

def implementation():
    return Implementation(name="mine", version="1", expand_ids=expand_ids)

def nothing():
    return None
"""


def test_one_of_your_own_is_named_by_module_and_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_engine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    assert get_implementation("my_engine:implementation").supported() == ("expand_ids",)
    with pytest.raises(LookupError, match="returned a NoneType, not an Implementation"):
        get_implementation("my_engine:nothing")
    with pytest.raises(LookupError, match="has no attribute 'other'"):
        get_implementation("my_engine:other")
    with pytest.raises(LookupError, match="No module named 'my_motor'"):
        get_implementation("my_motor:implementation")
