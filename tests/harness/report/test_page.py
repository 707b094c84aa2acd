from __future__ import annotations

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.jobs import JobContext
from harness.jobs.token_drift import TokenDrift
from harness.jobs.vit_batching import VitBatching
from harness.records import Recorder, load_record
from harness.report.page import headline, render, write_page
from harness.report.story import tell
from harness.session import Wishes, record_start, run_jobs
from harness.verdict import Filed, Status, Verdict, exit_code

VOID = {"meta", "img", "br", "link", "input", "rect", "line", "circle"}
Record = dict[str, Any]


class Outline(HTMLParser):
    """Checks that tags nest, and collects what would be loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.loads += [v or "" for k, v in attributes if k in ("src", "srcset") or (k == "href" and tag == "link")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data if "style" not in self.open else ""


def outline(html: str) -> Outline:
    parser = Outline()
    parser.feed(html)
    assert parser.open == []
    return parser


@pytest.fixture
def planted(make_context: Callable[..., JobContext]) -> Record:
    """The record of a run in which drift is seen and the planted fault is caught."""
    context = make_context(plant="F1-01", samples=8)
    jobs = [TokenDrift(), VitBatching()]
    record_start(context, Wishes(), jobs, {})
    run_jobs(context, jobs)
    return load_record(context.recorder.finish(exit_code(context.filed)))


def test_the_page_tells_the_run(planted: Record, tmp_path: Path) -> None:
    page = outline(write_page(planted, tmp_path / "page.html").read_text())
    assert "checks failed" in page.text
    for piece in ("run, off", "run, on", "image 1", "placeholders:", "encoder rows:", "the engine refused the request"):
        assert piece in page.text
    assert all(source.startswith("data:image/png;base64,") for source in page.loads)
    assert len(page.loads) > 3


def test_what_came_from_outside_is_escaped(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>"
    with Recorder(tmp_path) as recorder:
        recorder.event("run", target=nasty, model=nasty, seed=0, command=[nasty])
        recorder.event("job", job="j", title=nasty, about=nasty, sources=[nasty])
        recorder.verdict(Filed("j", Verdict(nasty, "fail", nasty, 1, nasty, evidence={"wrong": [], "x": nasty})))
        recorder.event("stop", job="j", setting=nasty, log_tail=nasty)
        recorder.event("problem", job="j", message=nasty)
        html = render(load_record(recorder.finish(1)))
    assert "<script" not in html
    assert outline(html).text.count(nasty) >= 8


@pytest.mark.parametrize(
    ("known", "others", "status", "words"),
    [
        ("known of x", [], "not_exercised", "Nothing was exercised"),
        ("known of x", ["pass"], "pass", "All 1 checks passed"),
        (None, [], "fail", "1 of 1 checks failed"),
    ],
)
def test_the_headline_is_of_the_checks_that_count(
    tmp_path: Path, known: str | None, others: list[Status], status: str, words: str
) -> None:
    filed = [Filed("j", Verdict("c", "fail", "m", 1, "s"), known=known)]
    filed += [Filed("j", Verdict("d", other, "m", 1, "s")) for other in others]
    with Recorder(tmp_path) as recorder:
        for one in filed:
            recorder.verdict(one)
        record = load_record(recorder.finish(exit_code(filed)))
    assert headline(tell(record)) == (status, words)


def test_a_record_that_stops_after_its_first_line_has_a_page(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.event("job", job="j", title="t", about="a", sources=[])
    page = outline(render(load_record(recorder.partial)))
    recorder.__exit__()
    assert "The run was interrupted" in page.text
    assert "the run ended before" in page.text
