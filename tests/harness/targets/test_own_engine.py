"""The example of an engine of one's own: named by an entry point, run against a real server, and short."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.session import Wishes, run
from harness.targets import find_target, target_names

EXAMPLE = Path(__file__).parents[3] / "e2e" / "own_engine.py"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that names the example in the entry point group."""
    package = tmp_path / "site"
    metadata = package / "own_engine-1.dist-info"
    metadata.mkdir(parents=True)
    (package / "own_engine.py").write_text(EXAMPLE.read_text())
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: own-engine\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[assay.targets]\nown-engine = own_engine:OwnEngine\n")
    monkeypatch.syspath_prepend(str(package))


def test_it_is_shorter_than_sixty_lines() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 60


@pytest.mark.usefixtures("installed")
def test_a_job_runs_on_it_and_what_it_lacks_is_said(tmp_path: Path) -> None:
    assert "own-engine" in target_names()
    assert find_target("own-engine").name == "own-engine"
    wishes = Wishes(
        jobs=["token-drift"], target="own-engine", samples=4, accuracy_floor=0.0, directory=tmp_path / "runs"
    )
    outcome = run(wishes)
    found = {filed.verdict.check: filed.verdict for filed in outcome.filed}
    passed = {check for check, verdict in found.items() if verdict.status == "pass"}
    assert passed == {"no token lost (as it is)", "ids run = ids sent (as it is)", "accuracy floor (as it is)"}
    rows = found["span length = encoder rows (as it is)"]
    assert rows.status == "not_exercised"
    assert rows.message.startswith("unsupported by own-engine ")
    assert outcome.code == 0
