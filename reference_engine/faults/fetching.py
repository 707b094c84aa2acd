"""Faults of fetching what a caller names."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import urlopen

from reference_engine.faults.catalogue import Fault
from reference_engine.server.fetching import Fetcher
from reference_engine.server.limits import Limits
from reference_engine.server.sources import Sources

INSIDE = "17: any input gives 2xx or 4xx; nothing is fetched from where the operator did not allow it"


class CheckedOnce(Fetcher):
    """Only the first of several URLs is looked at, and never the address behind it."""

    def fetch(self, url: str, field: str) -> bytes:
        self._first = url
        return super().fetch(url, field)

    def _allowed(self, url: str, field: str) -> SplitResult:
        return super()._allowed(url, field) if url == self._first else urlsplit(url)

    def _may_connect(self, address: Any) -> bool:
        return True


class WithUnguardedRedirects(Sources):
    def __init__(self, limits: Limits) -> None:
        super().__init__(limits, CheckedOnce)


class WithSecondWay(Sources):
    """Another way to fetch stands beside the guarded one, and knows no hosts."""

    def _fetched(self, source: str, scheme: str, field: str) -> bytes:
        with urlopen(source, timeout=10) as answer:
            data: bytes = answer.read()
        return data


FAULTS = (
    Fault(
        "F9-11", "vllm CVE-2025-6242 (vllm#26035)", "hosts are checked before redirects, addresses not at all", INSIDE,
        {"sources": WithUnguardedRedirects}, "a host that may be fetched from redirects to one that may not",
    ),
    Fault(
        "F9-12", "vllm-omni#2565", "one of two ways to fetch has no guard", INSIDE, {"sources": WithSecondWay},
        "an image is named by a URL",
    ),
)  # fmt: skip
