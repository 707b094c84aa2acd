"""What a person sees while a run goes on. Jobs speak to a :class:`Progress`; where it shows is not their business."""

from __future__ import annotations

from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from harness.verdict import Filed, Status

MARKS: dict[Status, tuple[str, str, str]] = {
    "pass": ("✓", "pass", "green"),
    "fail": ("✗", "FAIL", "bold red"),
    "not_exercised": ("○", "not exercised", "yellow"),
    "cannot_tell": ("?", "cannot tell", "magenta"),
}
"""Sign, words and colour of each status."""


WIDTH_WITHOUT_TERMINAL = 140


def new_console(*, stderr: bool = False) -> Console:
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console.width = WIDTH_WITHOUT_TERMINAL
    return console


class Progress(Protocol):
    def job(self, name: str, title: str) -> None: ...
    def step(self, text: str, total: int | None = None) -> None: ...
    def advance(self) -> None: ...
    def verdict(self, filed: Filed) -> None: ...


class Silent:
    """Shows nothing: for ``--quiet`` and for library use."""

    def job(self, name: str, title: str) -> None: ...
    def step(self, text: str, total: int | None = None) -> None: ...
    def advance(self) -> None: ...
    def verdict(self, filed: Filed) -> None: ...


class PlainLines:
    """One line a step and a verdict, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def job(self, name: str, title: str) -> None:
        self._console.print(f"\n[bold]{name}[/]  {title}", highlight=False)

    def step(self, text: str, total: int | None = None) -> None:
        self._console.print(f"  {text}" + (f" ({total})" if total else ""), style="dim", highlight=False)

    def advance(self) -> None: ...

    def verdict(self, filed: Filed) -> None:
        self._console.print(verdict_line(filed), highlight=False)


class LiveBars(PlainLines):
    """One moving bar under the jobs' names, and the verdicts that did not pass. For a terminal; a context manager."""

    def __init__(self, console: Console) -> None:
        count = (BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn())
        self._bars = Bars(SpinnerColumn(), TextColumn("{task.description}"), *count, console=console, transient=True)
        self._task: TaskID | None = None
        super().__init__(console)

    def __enter__(self) -> LiveBars:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()

    def verdict(self, filed: Filed) -> None:
        if filed.verdict.status != "pass" and not filed.drill:
            super().verdict(filed)

    def step(self, text: str, total: int | None = None) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
        self._task = self._bars.add_task(text, total=total)

    def advance(self) -> None:
        if self._task is not None:
            self._bars.advance(self._task)


def verdict_line(filed: Filed) -> str:
    sign, words, colour = mark(filed)
    return f"  [{colour}]{sign} {words}[/]  {escaped(filed.verdict.check)}: {escaped(filed.message)}"


def mark(filed: Filed) -> tuple[str, str, str]:
    """Sign, words and colour of a verdict in its place: a failure that does not count is called so."""
    sign, words, colour = MARKS[filed.verdict.status]
    if filed.known:
        return sign, "known failure", "dim"
    if filed.drill:
        return sign, "red, as wanted" if filed.verdict.status == "fail" else words, "dim"
    return sign, words, colour


def escaped(text: str) -> str:
    """``text`` with rich's markup taken literally."""
    return text.replace("[", "\\[")
