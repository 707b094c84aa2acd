"""Requests given up in the middle, on the reference engine: whole, and with an engine that keeps what they held."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.checks.soak import HELD
from harness.session import Wishes, run


@pytest.mark.slow
@pytest.mark.parametrize(("plant", "status"), [(None, "pass"), ("F5-08", "fail")])
def test_what_a_request_held_is_given_back(tmp_path: Path, plant: str | None, status: str) -> None:
    outcome = run(Wishes(jobs=["soak"], samples=180, plant=plant, directory=tmp_path))
    found = {filed.verdict.check: filed.verdict for filed in outcome.filed}
    assert found[HELD].status == status
    assert outcome.code == (0 if plant is None else 1)
