"""The job files of this directory as tests: on the reference engine, or on any target.

pytest e2e/test_jobs.py -m slow --assay-run="--target vllm --python PATH" --assay-shard 1/2
"""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.pytest_plugin.running import JobRunner

HERE = Path(__file__).parent
SECONDS = {"chunk-sizes": 60, "choices": 20, "pairwise": 90, "stream-whole": 15, "warm-cold": 30}
"""About what each takes on two cores, with the reference engine."""
QUICK = ("stream-whole",)


def jobs() -> list[pytest.param]:  # type: ignore[valid-type]
    return [
        pytest.param(
            HERE / f"{name}.toml",
            id=name,
            marks=[
                pytest.mark.assay(suite="equality", est_time=seconds),
                *([] if name in QUICK else [pytest.mark.slow]),
            ],
        )
        for name, seconds in SECONDS.items()
    ]


@pytest.mark.e2e
@pytest.mark.parametrize("file", jobs())
def test_job(assay_job: JobRunner, file: Path) -> None:
    outcome = assay_job(file, samples=6)
    assert all(filed.verdict.status == "pass" for filed in outcome.filed)


def test_every_file_that_declares_a_job_is_run() -> None:
    declaring = {path.stem for path in HERE.glob("*.toml") if "[[job]]" in path.read_text(encoding="utf-8")}
    assert declaring == set(SECONDS)
