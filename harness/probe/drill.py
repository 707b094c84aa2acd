"""What the probe alone sees of planted faults: ``python -m harness.probe.drill [FAULT ...] --out DIR``.

Each fault is planted in a reference server of its own, at that server's default settings; the probe knows nothing but
the address and the model's files, and ends at its first red check. An unfinished drill goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from harness.differential.models import find_models
from harness.errors import JobError
from harness.faults.served import served
from harness.json_lines import read_lines
from harness.markdown import table_row
from harness.probe.run import Wishes, probe
from harness.progress import Silent
from harness.surroundings import assay_version
from harness.verdict import Filed, Verdict
from reference_engine.faults import FAULTS

CLEAN = "(none)"
PREDICTED = (
    "images cost what the processor says",
    "ids and spans are the predicted ones",
    "several images, mixed sizes",
)
"""Checks that need the model's files."""


class Seen(Exception):
    """A check went red, which is all that the drill asks."""


class UntilRed(Silent):
    def __init__(self) -> None:
        self.verdicts: list[Verdict] = []

    def verdict(self, filed: Filed) -> None:
        self.verdicts.append(filed.verdict)
        if filed.verdict.status == "fail":
            raise Seen


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m harness.probe.drill", description="Which faults the probe sees.")
    parser.add_argument("faults", nargs="*", metavar="FAULT", help="of the catalogue (default: all)")
    parser.add_argument("--model", default="random-qwen2.5-vl", help="what is served (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("assay-runs/probe-drill"))
    parser.add_argument("--request-timeout", type=float, default=15.0)
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    lines = options.out / f"{options.model}.jsonl"
    done = {one["fault"] for one in _read(lines)}
    for name in [CLEAN, *(options.faults or FAULTS)]:
        if name not in done:
            found = _drill(name, options.model, options.request_timeout)
            with lines.open("a") as file:
                file.write(json.dumps(found) + "\n")
            sys.stderr.write(f"{name}: {len(found['red'])} red, {found['seconds']} s\n")
    (options.out / f"{options.model}.md").write_text(markdown(list(_read(lines)), options.model))
    return 0


def _read(lines: Path) -> Iterator[dict[str, Any]]:
    if lines.exists():
        yield from map(json.loads, read_lines(lines))


def _drill(fault: str, model: str, timeout: float) -> dict[str, Any]:
    [known] = find_models((model,))
    started = time.monotonic()
    told: dict[str, Any] = {"fault": fault}
    with served(known, None if fault == CLEAN else fault) as wire:
        watching = UntilRed()
        try:
            probe(Wishes(wire.url, model=model, request_timeout=timeout, time_limit=240, seed=5), watching)
        except Seen:
            pass
        except JobError as error:
            told["problem"] = str(error)
    verdicts = watching.verdicts
    told["red"] = {one.check: one.message for one in verdicts if one.status == "fail"}
    told["unsure"] = {one.check: one.message for one in verdicts if one.status == "cannot_tell"}
    told["seconds"] = round(time.monotonic() - started, 1)
    return told


def markdown(found: Sequence[dict[str, Any]], model: str) -> str:
    planted = [one for one in found if one["fault"] in FAULTS]
    red = [one for one in planted if one["red"] or one.get("problem")]
    by_files = [one for one in red if one["red"] and not set(one["red"]) - set(PREDICTED)]
    clean = [one for one in found if one["fault"] == CLEAN]
    unasked = [name for name in FAULTS if name not in {one["fault"] for one in planted}]
    lines = [
        f"# What `assay probe` sees of planted faults: {model}", "",
        f"Each fault in a reference server of its own at default settings; Assay {assay_version()}.", "",
        f"- seen: **{len(red)} of {len(planted)}** asked",
        f"- of these by a check that needs the model's files, and came first: {len(by_files)}",
        f"- with nothing planted: **{sum(len(one['red']) for one in clean)} red** in {len(clean)} probe",
        f"- not asked: {', '.join(unasked) or 'none'}", "",
        "| fault | what it does | seen by | first evidence |", "|---|---|---|---|",
    ]  # fmt: skip
    for one in sorted(planted, key=lambda one: one in red):
        name, message = next(
            iter(one["red"].items()), ("before any check" if one in red else "-", one.get("problem", ""))
        )
        cells = (one["fault"], FAULTS[one["fault"]].summary, name, message[:160])
        lines.append(table_row(cells))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
