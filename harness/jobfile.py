"""Job files: a run's wishes in TOML, so that a team's jobs lie in its own repository. ``assay run
e2e/drift-chunked.toml``.

Keys are those of :class:`~harness.session.Wishes`, and ``[[job]]`` tables declare jobs of the file's own
(:mod:`harness.jobs.declared`); what stands on the command line wins. An unknown key is refused.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.jobs.base import Job
from harness.jobs.declared import declared_job
from harness.launch.place import PLACES, Place
from harness.session import Wishes

KINDS: dict[str, type | tuple[type, ...]] = {
    "jobs": list,
    "job": list,
    "toggles": dict,
    "target": str,
    "model": str,
    "plant": str,
    "samples": int,
    "seed": int,
    "accuracy_floor": (int, float),
    "startup_timeout": (int, float),
    "request_timeout": (int, float),
    "place": dict,
    "python": str,
    "engine_args": list,
    "known": str,
}


def read_wishes(named: Sequence[str], given: Mapping[str, Any]) -> Wishes:
    """Wishes from the command line's jobs, some of them job files, and its options. A job of a file that is named
    beside it is the only one of the file that is run.
    """
    files = [name for name in named if name.endswith(".toml")]
    values = together({name: read_file(Path(name)) for name in files})
    if jobs := [name for name in named if name not in files]:
        filed = values.get("jobs", [job.name for job in values.get("declared", [])])
        values["jobs"] = jobs if set(jobs) & set(filed) else [*jobs, *filed]
    known = {field.name for field in fields(Wishes)}
    options = {name: value for name, value in given.items() if name in known}
    if "toggles" in values:
        options["toggles"] = [*values["toggles"], *options.get("toggles", [])]
    options["place"] = Place(**values.pop("place", {}) | {name: given[name] for name in PLACES if name in given})
    return Wishes(**{**values, **options})


def together(files: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """All jobs of several files, for one run: whatever else a file says, each of them must say."""
    if len(files) <= 1:
        return next(iter(files.values()), {})
    jobs: list[str] = []
    declared: list[type[Job]] = []
    rest: dict[str, dict[str, Any]] = {}
    for path, values in files.items():
        own = values.pop("declared", [])
        named = values.pop("jobs", [job.name for job in own])
        if not named:
            raise UsageError(f"{path} names no job: run it by itself")
        if twice := {job.name for job in declared} & {job.name for job in own}:
            raise UsageError(f"{path}: another file declares {', '.join(sorted(twice))}, too: run it by itself")
        jobs += [name for name in named if name not in jobs]
        declared += own
        rest[path] = values
    (first, values), *others = rest.items()
    for path, other in others:
        if unlike := [name for name in KINDS if values.get(name) != other.get(name)]:
            raise UsageError(f"{path} and {first} differ in {', '.join(unlike)}: run them one at a time")
    return {**values, "jobs": jobs, "declared": declared}


def read_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(f"no job file at {path}")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: {error}") from error
    for name, value in values.items():
        if name not in KINDS:
            raise UsageError(f"{path}: unknown key {name!r}; known: {', '.join(KINDS)}")
        if not isinstance(value, KINDS[name]) or isinstance(value, bool):
            raise UsageError(f"{path}: {name} = {value!r} has the wrong type")
    for name in values.get("place", {}):
        if name not in PLACES:
            raise UsageError(f"{path}: [place] has no {name!r}; known: {', '.join(PLACES)}")
    if "toggles" in values:
        values["toggles"] = [f"{name}={setting}" for name, setting in values["toggles"].items()]
    if "job" in values:
        values["declared"] = [declared_job(table, str(path)) for table in values.pop("job")]
    return values
