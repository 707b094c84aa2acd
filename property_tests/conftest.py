"""The implementation under test, and its capabilities one fixture each: a missing one skips, naming what lacks it."""

from __future__ import annotations

from collections.abc import Generator
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import event, reject

from harness.implementations import get_implementation, implementation_names
from harness.implementations.base import Implementation, Unsupported
from property_tests.failing import KEPT, kept, last_failing, try_first, watch
from property_tests.known_failures import known_failures
from property_tests.outcomes import Asked, Outcomes
from property_tests.profiles import load_default

HERE = Path(__file__).parent
UNDER_TEST = pytest.StashKey[Implementation]()
ASKED = Asked()
CASES = ("family", "way", "kind")
"""Arguments of properties that stand for a name in ``Implementation.families``."""


def pytest_configure(config: pytest.Config) -> None:
    """Refuse an unknown implementation before anything runs; load the default profile unless one was asked for."""
    name = config.getoption("--implementation")
    if name not in implementation_names() and ":" not in name:
        known = ", ".join(implementation_names())
        raise pytest.UsageError(f"unknown implementation {name!r}; known: {known}, or module:function")
    if config.getoption("--hypothesis-profile", default=None) is None:
        load_default()
    if path := config.getoption("--outcomes"):
        config.pluginmanager.register(Outcomes(Path(path), HERE, ASKED, lambda: under_test(config)))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Expect the known failures of this very version; strictly, so that a mended one asks to be taken off the list."""
    mine = [item for item in items if isinstance(item, pytest.Function) and item.path.parent == HERE]
    if not mine:
        return
    judged = under_test(config)
    known, regressions = known_failures(judged.name, judged.version), kept()
    for property_, name in {(item.obj, f"{item.path.name}::{item.originalname}") for item in mine}:
        if hasattr(property_, "hypothesis"):
            watch(property_)
            try_first(property_, regressions.get(name, []))
    for item in mine:
        whole = f"{item.path.name}::{item.name}"
        if failure := known.get(whole) or known.get(whole.partition("[")[0]):
            reason = f"known in {judged.name} {judged.version}: {failure.told}"
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Beside an unexpected failure: a script that shows it alone."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        failing = last_failing(item.path.name, item.obj, list(item.funcargs))
        if failing:
            option = item.config.getoption
            script = failing.script(option("--implementation"), option("--plant"), option("--implementation-python"))
            report.sections.append(("Reproduction, as a script of its own", script))
            if option("--keep-failures"):
                with KEPT.open("a", encoding="utf-8") as file:
                    file.write(failing.entry())
    return report


def under_test(config: pytest.Config) -> Implementation:
    """Made once a run, when the first property is collected."""
    if UNDER_TEST not in config.stash:
        option = config.getoption
        try:
            config.stash[UNDER_TEST] = get_implementation(
                option("--implementation"), option("--plant"), option("--implementation-python")
            )
        except (LookupError, ImportError) as error:
            pytest.exit(f"property_tests: {error}", returncode=2)
    return config.stash[UNDER_TEST]


def pytest_report_header(config: pytest.Config) -> str:
    planted = config.getoption("--plant")
    return f"implementation: {config.getoption('--implementation')}" + (f", planted: {planted}" if planted else "")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A property of families is put to each that the implementation knows for the capability it asks for."""
    for case in set(CASES) & set(metafunc.fixturenames):
        known = under_test(metafunc.config).families
        names = next((known[name] for name in metafunc.fixturenames if name in known), ())
        metafunc.parametrize(case, names or [f"no {case}"])


@pytest.fixture(scope="session")
def implementation(request: pytest.FixtureRequest) -> Implementation:
    return under_test(request.config)


def _capability(implementation: Implementation, name: str) -> Any:
    try:
        implementation.require(name)
    except Unsupported as error:
        pytest.skip(str(error))
    function = getattr(implementation, name)

    @wraps(function)
    def call(*arguments: Any) -> Any:
        """An input that the implementation has no way to be asked is left out, never judged."""
        ASKED.times += 1
        try:
            return function(*arguments)
        except Unsupported as error:
            reject_because(str(error))

    return call


def reject_because(reason: str) -> NoReturn:
    event(f"left out: {reason}")
    reject()


def _fixture(name: str) -> Any:
    @pytest.fixture(scope="session", name=name)
    def capability(implementation: Implementation) -> Any:
        return _capability(implementation, name)

    return capability


globals().update({f"_{name}": _fixture(name) for name in Implementation.capabilities()})
