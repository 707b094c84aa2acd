"""The jobs of two seeds on the reference engine: green when it is whole, red with their reported faults planted."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.session import Wishes, run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("job", "plant", "red"),
    [
        ("native-decode", None, set()),
        ("native-decode", "F6-08", {"on = off", "on, streamed = off"}),
        ("processor-reuse", None, set()),
        ("processor-reuse", "reuse-ids-by-length", {"another's output is not used"}),
    ],
)
def test_the_job_sees_its_fault(tmp_path: Path, job: str, plant: str | None, red: set[str]) -> None:
    outcome = run(Wishes(jobs=[job], samples=8, plant=plant, directory=tmp_path))
    assert {filed.verdict.check for filed in outcome.filed if filed.verdict.status == "fail"} == red
    assert outcome.code == (1 if red else 0), outcome
