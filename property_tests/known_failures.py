"""Failures that are known, each of one implementation at named versions: another version is judged afresh."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("known_failures.toml")


@dataclass(frozen=True)
class KnownFailure:
    """One defect, or one decision that the properties do not share, and every property that it fails."""

    implementation: str
    versions: Sequence[str]
    tests: Sequence[str]
    """``file::test`` within property_tests, or ``file::test[case]``."""
    reason: str
    reproductions: Sequence[str] = ()
    """Files in results/conformance/reproductions that show it against the release alone."""
    link: str = ""
    """Where it was reported, if it was."""

    @property
    def told(self) -> str:
        """The reason, and where to see and read more."""
        more = [*(f"{name}.py" for name in self.reproductions), *([self.link] if self.link else [])]
        return self.reason + (f" ({', '.join(more)})" if more else "")


def read_list(path: Path = LIST) -> list[KnownFailure]:
    """Every entry. Raises ``TypeError`` naming a key that is missing or unknown."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("failure", [])
    return [KnownFailure(**entry) for entry in entries]


def known_failures(implementation: str, version: str) -> dict[str, KnownFailure]:
    """By test, those of ``implementation`` at ``version``. A test that several defects fail has the first of them."""
    mine = [k for k in read_list() if k.implementation == implementation and version in k.versions]
    return {test: known for known in reversed(mine) for test in known.tests}
