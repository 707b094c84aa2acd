"""Failures of a target that are known and not ours, as data (``known_divergences.toml``; a team's own by ``--known``).

Each line is of one target, of releases, of one check, and has a reason, a link and a last day. Until then that failure
is shown and does not fail the run; after it, it does again. A check that passes in spite of its line is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.targets.base import Target
from harness.toml_file import read_toml, tables
from harness.verdict import Filed, Verdict

SHIPPED = Path(__file__).with_name("known_divergences.toml")
KEY = "divergence"


@dataclass(frozen=True)
class Divergence:
    target: str
    version: str
    """A release, or a pattern of releases as ``0.5.*``."""
    job: str
    check: str
    """A check, or a pattern of checks."""
    reason: str
    link: str
    """The report, or the page that tells what was seen."""
    expires: date
    requests: tuple[str, ...] = ()
    """The requests that may fail, or patterns as ``messages is *``; another one, and the failure counts. None: it is
    not of single requests.
    """

    def is_of(self, target: Target, job: str, verdict: Verdict) -> bool:
        here = (self.target, self.job) == (target.name, job)
        return here and fnmatchcase(verdict.check, self.check) and fnmatchcase(target.version, self.version)

    def covers(self, request: str | None) -> bool:
        """None: what is wrong is not of single requests."""
        if request is None:
            return not self.requests
        return any(fnmatchcase(request, known) for known in self.requests)

    @property
    def words(self) -> str:
        return f"known of {self.target} {self.version} until {self.expires}: {self.reason} ({self.link})"


def read_divergences(path: Path) -> tuple[Divergence, ...]:
    """Raises :class:`UsageError` naming file, entry and key."""
    found = tables(path, KEY, read_toml(path, known=[KEY]).get(KEY, []))
    return tuple(_divergence(table, f"{path}: {KEY} {number}") for number, table in enumerate(found, 1))


def _divergence(table: dict[str, Any], where: str) -> Divergence:
    kinds: dict[str, type] = {field.name: str for field in fields(Divergence)} | {"expires": date, "requests": list}
    given = {"requests": []} | table
    for name in given.keys() | kinds.keys():
        if name not in kinds:
            raise UsageError(f"{where}: unknown key {name!r}; known: {', '.join(kinds)}")
        if type(given.get(name)) is not kinds[name]:
            raise UsageError(f"{where}: {name} = {given.get(name)!r}: a {kinds[name].__name__} is needed")
    if not all(isinstance(one, str) for one in given["requests"]):
        raise UsageError(f"{where}: requests = {given['requests']!r}: a list of str is needed")
    return Divergence(**{**given, "requests": tuple(given["requests"])})


def in_the_light_of(known: Sequence[Divergence], target: Target, filed: Filed, today: date) -> Filed:
    """``filed`` as it is, or told to be known, or to be no longer so. Lines add up: what is wrong is excused by those
    that still hold together, and a later line may renew one that does not.
    """
    verdict = filed.verdict
    lines = [one for one in known if one.is_of(target, filed.job, verdict)]
    holding = [one for one in lines if today <= one.expires]
    if verdict.status == "fail" and (words := _excuse(holding, verdict)):
        return replace(filed, known=words)
    if not lines or verdict.status not in ("fail", "pass"):
        return filed
    one = (holding or lines)[0]
    excused = "excuses other requests, " if holding else "no longer excused, "
    told = excused if verdict.status == "fail" else "passes; take out the line "
    return replace(filed, verdict=replace(verdict, message=f"{verdict.message} [{told}{one.words}]"))


def _excuse(lines: Sequence[Divergence], verdict: Verdict) -> str:
    """Words of the lines that excuse all that is wrong; empty where something is left."""
    wrong = dict.fromkeys(one["request"] for one in verdict.evidence.get("wrong", ())) or [None]
    found = [next((one.words for one in lines if one.covers(request)), "") for request in wrong]
    return "; ".join(dict.fromkeys(found)) if all(found) else ""
