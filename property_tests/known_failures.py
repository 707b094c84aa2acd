"""Failures that are known, each of one implementation at one version: another version is judged afresh."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

LIST = Path(__file__).with_name("known_failures.toml")


@dataclass(frozen=True)
class KnownFailure:
    implementation: str
    version: str
    test: str
    """``file::test`` within property_tests."""
    reason: str


def read_list(path: Path = LIST) -> list[KnownFailure]:
    """Every entry. Raises ``TypeError`` naming a key that is missing or unknown."""
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("failure", [])
    return [KnownFailure(**entry) for entry in entries]


def known_failures(implementation: str, version: str) -> dict[str, KnownFailure]:
    """By test, those of ``implementation`` at ``version``."""
    return {k.test: k for k in read_list() if (k.implementation, k.version) == (implementation, version)}
