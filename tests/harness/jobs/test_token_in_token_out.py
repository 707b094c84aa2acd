"""The job on the reference engine: green when it is whole, red with fields written as null and with ids made anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.session import Wishes, run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("plant", "red"), [(None, None), ("null-fields", "left out"), ("F3-03", "token ids come back")]
)
def test_ids_go_in_and_come_out(tmp_path: Path, plant: str | None, red: str | None) -> None:
    outcome = run(Wishes(jobs=["token-in-token-out"], samples=4, plant=plant, directory=tmp_path))
    failed = [filed.verdict.check for filed in outcome.filed if filed.verdict.status == "fail"]
    assert outcome.code == (0 if plant is None else 1), outcome
    if red is None:
        assert {filed.verdict.status for filed in outcome.filed} == {"pass"}
    else:
        assert any(red in check for check in failed)
