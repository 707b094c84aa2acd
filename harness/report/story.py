"""A record's events, sorted by job: what the page tells. Reads records of broken-off runs too; what is missing stays
empty.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]


@dataclass
class JobStory:
    """All that happened in one job. ``answers`` is by setting, then by request."""

    name: str
    title: str = ""
    about: str = ""
    sources: list[str] = field(default_factory=list)
    verdicts: list[Event] = field(default_factory=list)
    prompts: dict[str, Event] = field(default_factory=dict)
    answers: dict[str, dict[str, Event]] = field(default_factory=dict)
    launches: list[Event] = field(default_factory=list)
    stops: list[Event] = field(default_factory=list)
    loads: list[Event] = field(default_factory=list)
    token_texts: dict[int, str] = field(default_factory=dict)
    seconds: float | None = None
    problem: str | None = None

    def own(self) -> list[Event]:
        """Verdicts that count."""
        return [verdict for verdict in self.verdicts if not verdict["drill"] and not verdict.get("known")]


@dataclass
class Story:
    run: Event
    jobs: list[JobStory]
    pictures: dict[str, Event]
    seconds: float
    problem: str | None
    exit_code: int | None
    name: str

    def verdicts(self) -> list[Event]:
        return [verdict for job in self.jobs for verdict in job.own()]


def tell(record: Event) -> Story:
    events: list[Event] = record["events"]
    jobs: dict[str, JobStory] = {}
    pictures: dict[str, Event] = {}
    for event in events:
        if event["event"] == "picture":
            pictures[event["digest"]] = event
        elif "job" in event:
            _add(jobs.setdefault(event["job"], JobStory(event["job"])), event)
    run = next((event for event in events if event["event"] == "run"), {})
    seconds = events[-1]["at"] - events[0]["at"] if events else 0.0
    problem = next((event["message"] for event in events if event["event"] == "problem"), None)
    return Story(run, list(jobs.values()), pictures, seconds, problem, record["exit_code"], record["run"])


def _add(job: JobStory, event: Event) -> None:
    kind = event["event"]
    if kind == "job":
        job.title, job.about, job.sources = event["title"], event["about"], event["sources"]
    elif kind == "prompt":
        job.prompts[event["name"]] = event
    elif kind == "answer":
        job.answers.setdefault(event["setting"], {})[event["request"]] = event
    elif kind == "verdict":
        job.verdicts.append(event)
    elif kind in ("launch", "stop"):
        (job.launches if kind == "launch" else job.stops).append(event)
    elif kind == "load":
        job.loads.append(event)
    elif kind == "tokens":
        job.token_texts = {int(token): text for token, text in event["texts"].items()}
    elif kind == "job_end":
        job.seconds = event["seconds"]
    elif kind == "problem":
        job.problem = event["message"]
