"""Makes the page: verdicts first, then a section a job with its pictures, its token diff, its row counts, its plot."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.checks.identity import Placeholders
from harness.progress import MARKS
from harness.report.charts import ratio_rows
from harness.report.load_chart import load_pictures
from harness.report.story import Event, JobStory, Story, tell
from harness.report.token_diff import Chip, Column, chips_run, chips_sent, columns, items_of
from harness.surroundings import assay_version

SHOWN_PROMPTS, SHOWN_MISMATCHES, SHOWN_WRONG, SHOWN_SEVERAL = 3, 3, 3, 2
EVIDENCE_CHARACTERS = 4000
REPOSITORIES = {"sglang": "sgl-project/sglang", "vllm": "vllm-project/vllm"}


@dataclass(frozen=True)
class Diff:
    """One prompt with its pictures and its columns; ``rows`` names each row and counts its tokens."""

    prompt: Event
    rows: list[tuple[str, int]]
    columns: list[Column]
    answers: list[tuple[str, str, bool]]
    sizes: list[list[int]]
    """Tokens of each picture, by run."""

    def picture_size(self, chip: Chip, row: int) -> str:
        """What stands under a folded picture in row ``row`` (0 is what was sent)."""
        size = self.sizes[row - 1][int(chip.text) - 1]
        return f"{size} token{'s' if size > 1 else ''}"


def write_page(record: Event, path: Path) -> Path:
    """The page of ``record`` at ``path``, written in one step."""
    html = render(record)
    waiting = path.with_suffix(".html.tmp")
    waiting.write_text(html, encoding="utf-8")
    return waiting.replace(path)


def render(record: Event) -> str:
    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"link": link, "evidence": evidence_text, "when": when, "figure": figure}
    story = tell(record)
    return environment.get_template("page.html.j2").render(
        story=story,
        headline=headline(story),
        marks=MARKS,
        assay=assay_version(),
        diffs={job.name: token_diffs(job, story) for job in story.jobs},
        mismatches={job.name: row_mismatches(job) for job in story.jobs},
        several={job.name: pictures_of_several_spans(job) for job in story.jobs},
        wrongs={job.name: silently_wrong(job) for job in story.jobs},
        ratios={job.name: ratio_rows(job.verdicts) for job in story.jobs},
        loads={job.name: load_pictures(job.loads) for job in story.jobs},
    )


def headline(story: Story) -> tuple[str, str]:
    """The status that colours the page, and the one sentence to take home."""
    statuses = [verdict["status"] for verdict in story.verdicts()]
    total = len(statuses)
    if failed := statuses.count("fail"):
        return "fail", f"{failed} of {total} checks failed"
    if story.problem:
        return "fail", "The run broke off"
    if story.exit_code is None:
        return "cannot_tell", "The run was interrupted"
    if unsure := statuses.count("cannot_tell"):
        return "cannot_tell", f"{unsure} of {total} checks cannot tell"
    if idle := statuses.count("not_exercised"):
        return "not_exercised", f"{total - idle} of {total} checks passed; {idle} not exercised"
    return ("pass", f"All {total} checks passed") if total else ("not_exercised", "Nothing was exercised")


def token_diffs(job: JobStory, story: Story) -> list[Diff]:
    """The first prompt and those that drifted most, in a job whose prompts drift at all."""
    found = [p for p in job.prompts.values() if p["drift"]]
    drifting = [*found[:1], *sorted(found[1:], key=lambda p: p["drift"])]
    tokens = story.run.get("tokens")
    if not tokens or len(job.answers) < 2:
        return []
    placeholders = Placeholders(tokens["placeholder"], tuple(tokens["joiner"]))
    return [diff for p in drifting if (diff := _diff(job, p, placeholders)) is not None][:SHOWN_PROMPTS]


def _diff(job: JobStory, prompt: Event, placeholders: Placeholders) -> Diff | None:
    answers = {setting: found[prompt["name"]] for setting, found in job.answers.items() if prompt["name"] in found}
    if any(not answer["prompt_ids"] or not all(i["spans"] for i in answer["items"]) for answer in answers.values()):
        return None
    sent = chips_sent(prompt["ids"], placeholders.id, job.token_texts)
    runs = [
        chips_run(a["prompt_ids"], items_of(a), placeholders, job.token_texts, prompt.get("written", ()))
        for a in answers.values()
    ]
    rows = [("sent", len(sent)), *((f"run, {setting}", len(run)) for setting, run in zip(answers, runs, strict=True))]
    told = [(setting, a["text"], a["text"].strip() == prompt["expected"]) for setting, a in answers.items()]
    sizes = [[sum(b - a + 1 for a, b in item.spans) for item in items_of(a)] for a in answers.values()]
    return Diff(prompt, rows, columns(sent, runs), told, sizes)


def row_mismatches(job: JobStory) -> list[Event]:
    """Spans that got another number of encoder rows than they hold, with the request that they belong to."""
    found = [
        {"prompt": job.prompts.get(wrong["request"]), **wrong}
        for verdict in job.verdicts
        if verdict["status"] == "fail"
        for wrong in verdict["evidence"].get("wrong", [])
        if "rows" in wrong
    ]
    return found[:SHOWN_MISMATCHES]


def pictures_of_several_spans(job: JobStory) -> list[tuple[Event, Event]]:
    """Prompt and picture, for a job in which all went well: what the row counts were read from."""
    if row_mismatches(job) or not job.answers:
        return []
    answers = list(job.answers.values())[-1]
    found = [
        (prompt, item | {"placeholders": [end - start + 1 for start, end in item["spans"]]})
        for prompt in job.prompts.values()
        for item in answers.get(prompt["name"], {}).get("items", [])
        if len(item["spans"]) > 1
    ]
    return found[:SHOWN_SEVERAL]


def silently_wrong(job: JobStory) -> list[Event]:
    """Requests that one setting answered right and the other, without any error, wrong."""
    found: list[Event] = []
    for verdict in job.verdicts:
        evidence = verdict["evidence"]
        if verdict["status"] != "fail" or "lost" not in evidence:
            continue
        for name in evidence["lost"]:
            if name not in evidence["lost_by_refusal"] and name in job.prompts:
                got = {s: job.answers.get(s, {}).get(name, {}).get("text", "") for s in evidence["settings"]}
                found.append({"prompt": job.prompts[name], "got": got})
    return found[:SHOWN_WRONG]


def link(source: str) -> str | None:
    """Where a report such as ``sglang#26555`` can be read."""
    project, _, number = source.partition("#")
    return f"https://github.com/{REPOSITORIES[project]}/pull/{number}" if project in REPOSITORIES else None


def evidence_text(evidence: Any) -> str:
    text = json.dumps(evidence, indent=1, ensure_ascii=False)
    return text if len(text) <= EVIDENCE_CHARACTERS else text[:EVIDENCE_CHARACTERS] + "\n… the whole is in the record"


def when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def figure(value: float | None) -> str:
    return "none" if value is None else f"{value:g}" if float(value).is_integer() else f"{value:.3f}"
