"""Runs of the shipped jobs on the reference engine, small enough for every change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.session import Outcome, Wishes, run

Run = Callable[..., Outcome]


@pytest.fixture
def assay_run(tmp_path: Path) -> Run:
    """``assay run`` as a function, its records in the test's own directory."""

    def start(*jobs: str, **wishes: Any) -> Outcome:
        return run(Wishes(jobs=jobs, directory=tmp_path / "assay-runs", **wishes))

    return start
