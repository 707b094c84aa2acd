"""Job files: a run's wishes in TOML, so that a team's jobs lie in its own repository. ``assay run
e2e/drift-chunked.toml``.

Keys are those of :class:`~harness.session.Wishes`, and ``[[job]]`` tables declare jobs of the file's own
(:mod:`harness.jobs.declared`); what stands on the command line wins. An unknown key is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from harness.errors import UsageError
from harness.jobs.base import Job
from harness.jobs.declared import declared_job, words_of
from harness.launch.place import PLACES, Place
from harness.session import Wishes
from harness.toml_file import read_toml, tables

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
    """Wishes from the command line's jobs, some of them job files, and its options. Of a file, the jobs that are named
    beside it are run alone; all of them where none is.
    """
    files = {name: read_file(Path(name)) for name in named if name.endswith(".toml")}
    jobs = [name for name in named if name not in files]
    for own in files.values():
        if chosen := [name for name in jobs if name in _jobs(own)]:
            own["jobs"] = chosen
    values = together(files)
    if jobs:
        filed = _jobs(values)
        values["jobs"] = [*(name for name in jobs if name not in filed), *filed]
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
        named = _jobs(values)
        values.pop("jobs", None)
        own = values.pop("declared", [])
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


def _jobs(values: Mapping[str, Any]) -> list[str]:
    """Those that a file names; else those that it declares."""
    return list(values.get("jobs", [job.name for job in values.get("declared", [])]))


def read_file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UsageError(f"no job file at {path}")
    values = read_toml(path, known=KINDS)
    for name, value in values.items():
        if not _fits(name, value):
            raise UsageError(f"{path}: {name} = {value!r} has the wrong type")
    _check_place(path, values.get("place", {}))
    if "toggles" in values:
        values["toggles"] = [f"{name}={setting}" for name, setting in values["toggles"].items()]
    if "job" in values:
        values["declared"] = [declared_job(table, str(path)) for table in tables(path, "job", values.pop("job"))]
    return values


def _fits(name: str, value: Any) -> bool:
    """Lists are of text, but for tables of jobs."""
    texts = not isinstance(value, list) or name == "job" or all(isinstance(one, str) for one in value)
    return texts and isinstance(value, KINDS[name]) and not isinstance(value, bool)


def _check_place(path: Path, place: Mapping[str, Any]) -> None:
    for name in place:
        if name not in PLACES:
            raise UsageError(f"{path}: [place] has no {name!r}; known: {', '.join(PLACES)}")
    try:
        TypeAdapter(Place).validate_json(json.dumps(place, default=str), strict=True)
    except ValidationError as error:
        raise UsageError(f"{path}: [place] {words_of(error)}") from error
