"""Jobs as pytest tests: ``assay_job("token-drift")`` in any test, on the target that the command line names.

Promises to do nothing to a test run that does not use it: options and one marker are known, nothing is imported beyond
pytest's, no hook acts unless an option or the marker asks.

    pytest e2e --assay-run="--target vllm --python PATH" --assay-shard 1/4 --junitxml report.xml
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.pytest_plugin.choosing import Demands, demands_of, machine, read_shard, shard

if TYPE_CHECKING:
    from harness.pytest_plugin.running import JobRunner

MARKER = (
    "assay(suite=None, est_time=60, hardware='any'): a job on launched servers; est_time, in seconds, shares tests out "
    "to shards; hardware is any, cpu, nvidia or amd"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vlm-assay jobs")
    group.addoption("--assay-run", default="", metavar="OPTIONS", help="options of `assay run` for every job")
    group.addoption("--assay-out", default=None, metavar="DIR", help="where records go (default: each test's own)")
    group.addoption("--assay-suite", default=None, metavar="NAME", help="only tests marked with this suite")
    group.addoption(
        "--assay-shard", default=None, metavar="K/N", help="the K-th of N parts of about equal estimated time"
    )
    group.addoption(
        "--assay-hardware", default=None, metavar="NAME", help="cpu, nvidia or amd (default: what this machine has)"
    )
    group.addoption(
        "--assay-retries",
        type=int,
        default=0,
        metavar="N",
        help="run a failed job N times more to tell how often it fails; it stays failed",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", MARKER)
    if (given := config.getoption("--assay-shard")) is not None:
        read_shard(given)


def pytest_report_header(config: pytest.Config) -> str | None:
    options = config.getoption("--assay-run")
    return f"assay: run {options}" if options else None


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    found = {item: demands for item in items if (demands := demands_of(item)) is not None}
    here = config.getoption("--assay-hardware") or (machine() if found else "")
    for item, demands in found.items():
        if demands.hardware not in ("any", here):
            item.add_marker(pytest.mark.skip(f"needs hardware {demands.hardware}; this machine has {here}"))
    keep = _chosen(config, items, found)
    if len(keep) < len(items):
        config.hook.pytest_deselected(items=[item for item in items if item not in keep])
        items[:] = [item for item in items if item in keep]


def _chosen(config: pytest.Config, items: list[pytest.Item], found: dict[pytest.Item, Demands]) -> set[pytest.Item]:
    suite, part = config.getoption("--assay-suite"), config.getoption("--assay-shard")
    keep = {item for item in items if suite is None or (item in found and found[item].suite == suite)}
    if part is None:
        return keep
    times = {item.nodeid: found[item].est_time if item in found else 1.0 for item in items if item in keep}
    mine = shard(times, *read_shard(part))
    return {item for item in keep if item.nodeid in mine}


@pytest.fixture
def assay_job(
    request: pytest.FixtureRequest, record_property: Callable[[str, object], None], tmp_path: Path
) -> JobRunner:
    """Runs a job (a shipped one's name, or a job file's path) and ends the test as its verdicts say."""
    from harness.pytest_plugin.running import JobRunner

    directory = request.config.getoption("--assay-out")
    return JobRunner(
        options=shlex.split(request.config.getoption("--assay-run")),
        directory=Path(directory) if directory else tmp_path / "assay-runs",
        retries=request.config.getoption("--assay-retries"),
        record=record_property,
        shares_cores="PYTEST_XDIST_WORKER" in os.environ,
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """On GitHub: an annotation for each check that failed."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    from harness.github import error_line

    for report in terminalreporter.getreports("failed"):
        for name, value in report.user_properties:
            if name == "assay.fail":
                terminalreporter.write_line(error_line(str(value).partition(": ")[0], str(value)))
