"""The suite's pytest options, as a plugin so that ``pytest --pyargs property_tests`` finds them wherever it is run.

Promises to do nothing to any other test run: no imports beyond pytest's, no fixtures, no hooks that act unasked.
"""

from __future__ import annotations

import pytest

PROFILES = ("quick", "dev", "ci", "nightly")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vlm-assay properties")
    group.addoption(
        "--implementation",
        default="reference",
        metavar="NAME",
        help="implementation that property_tests judges: reference (default), transformers, sglang, vllm, or one of "
        "your own as module:function",
    )
    group.addoption(
        "--implementation-python",
        default=None,
        metavar="PATH",
        help="Python of the environment that the implementation is installed in (sglang, vllm)",
    )
    group.addoption(
        "--plant",
        default=None,
        metavar="FAULT",
        help="plant this fault in the implementation first, to see the property that catches it fail",
    )
    group.addoption(
        "--outcomes", default=None, metavar="FILE", help="write what each property said, one JSON line each"
    )
    group.addoption(
        "--store-baseline", action="store_true", help="keep this run's multiples of the calibration loop (benchmarks)"
    )
    group.addoption("--keep-failures", action="store_true", help="add failing examples to the suite's regressions.toml")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Make the suite's profiles known before hypothesis loads the one that was asked for."""
    if config.getoption("--hypothesis-profile", default=None) in PROFILES:
        from property_tests.profiles import register

        register()
