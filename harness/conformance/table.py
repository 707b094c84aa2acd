"""The table: a row a property, a column an implementation; and below it what was expected to fail, and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.conformance.suite import OUTCOMES, Judgement
from harness.surroundings import assay_version

WORDS = {
    "pass": "pass", "fail": "FAIL", "expected_failure": "known failure", "unexpected_pass": "MENDED",
    "unsupported": "unsupported",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """What one property said of one implementation: cases by outcome, and how often it was asked."""

    cases: Mapping[str, int]
    asked: int

    @property
    def worst(self) -> str:
        order = ("fail", "unexpected_pass", "expected_failure", "pass", "unsupported")
        return next((outcome for outcome in order if self.cases.get(outcome)), "unsupported")

    def __str__(self) -> str:
        if sum(self.cases.values()) == 1:
            return WORDS[self.worst] + (f" ({self.asked})" if self.worst == "pass" else "")
        return ", ".join(f"{self.cases[o]} {WORDS[o]}" for o in OUTCOMES if self.cases.get(o))


def properties(judgements: Sequence[Judgement]) -> dict[str, list[str]]:
    """Names of all properties, by file, in the order in which they ran."""
    found: dict[str, list[str]] = {}
    for judgement in judgements:
        for line in judgement.lines:
            names = found.setdefault(line["file"], [])
            if line["test"] not in names:
                names.append(line["test"])
    return found


def cell(judgement: Judgement, file: str, test: str) -> Cell:
    mine = [line for line in judgement.lines if (line["file"], line["test"]) == (file, test)]
    return Cell(Counter(line["outcome"] for line in mine), sum(line["asked"] for line in mine))


def telling(judgement: Judgement, outcome: str) -> list[tuple[str, str]]:
    """Property, with its cases, and reason; properties of one file and one reason are told together."""
    found: dict[tuple[str, str], list[str]] = {}
    for line in judgement.lines:
        if line["outcome"] == outcome:
            reason = " ".join(line["reason"].split()).removeprefix(f"known in {judgement.name} {judgement.version}: ")
            case = f"[{line['case']}]" if line["case"] else ""
            found.setdefault((line["file"], reason), []).append(_plain(line["test"]) + case)
    return [(f"{_plain(file)}: {'; '.join(names)}", reason) for (file, reason), names in found.items()]


def _plain(name: str) -> str:
    return name.removesuffix(".py").removeprefix("test_").replace("_", " ")


def markdown(judgements: Sequence[Judgement]) -> str:
    head = [f"{j.name} {j.version}" for j in judgements]
    lines = [
        "# Conformance",
        "",
        "A pass says in brackets how often the implementation was asked. What it has no function for is unsupported,",
        "never passed. A known failure is listed below with its reason; one that passes is told as mended.",
        "",
        f"| property | {' | '.join(head)} |",
        f"|---|{'---|' * len(judgements)}",
    ]
    for file, names in properties(judgements).items():
        lines.append(f"| **{_plain(file)}** |{' |' * len(judgements)}")
        lines += [f"| {_plain(n)} | {' | '.join(str(cell(j, file, n)) for j in judgements)} |" for n in names]
    for outcome in OUTCOMES:
        lines.append(f"| *{WORDS[outcome]}* | {' | '.join(str(j.count(outcome)) for j in judgements)} |")
    lines.append(f"| *seconds, profile* | {' | '.join(f'{j.seconds:.0f}, {j.profile}' for j in judgements)} |")
    for outcome in ("fail", "unexpected_pass", "expected_failure"):
        for judgement in judgements:
            if told := telling(judgement, outcome):
                lines += ["", f"## {WORDS[outcome].capitalize()}: {judgement.name} {judgement.version}", ""]
                lines += [f"- {names}: {reason}" for names, reason in told]
    return "\n".join(lines) + "\n"


def page(judgements: Sequence[Judgement]) -> str:
    environment = Environment(
        loader=PackageLoader("harness.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    rows = {
        _plain(file): [(_plain(name), [cell(j, file, name) for j in judgements]) for name in names]
        for file, names in properties(judgements).items()
    }
    sections = [
        (WORDS[outcome].capitalize(), j, told)
        for outcome in ("fail", "unexpected_pass", "expected_failure", "unsupported")
        for j in judgements
        if (told := telling(j, outcome))
    ]
    return environment.get_template("conformance.html.j2").render(
        assay=assay_version(), judgements=judgements, rows=rows, sections=sections, outcomes=OUTCOMES, words=WORDS
    )


def write(judgements: Sequence[Judgement], directory: Path) -> str:
    """``conformance.json``, ``.md`` and ``.html`` into ``directory``; returns the Markdown."""
    directory.mkdir(parents=True, exist_ok=True)
    text = markdown(judgements)
    record = json.dumps([asdict(j) for j in judgements], indent=1, ensure_ascii=False)
    (directory / "conformance.json").write_text(record + "\n", encoding="utf-8")
    (directory / "conformance.md").write_text(text, encoding="utf-8")
    (directory / "conformance.html").write_text(page(judgements), encoding="utf-8")
    return text
