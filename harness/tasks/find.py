"""Tasks by how they are named on the command line."""

from __future__ import annotations

import re
from pathlib import Path

from harness.errors import UsageError
from harness.tasks.base import Task
from harness.tasks.jsonl import JsonlTask
from harness.tasks.sentinel import SentinelTask
from harness.workloads.chat import QWEN, Markup

TASK_NAME = re.compile(r"""(?:^|[{,])\s*["']?task["']?\s*:\s*["']?([\w.-]+)""", re.MULTILINE)


def find_task(named: str, markup: Markup = QWEN) -> Task:
    """``sentinel``, a .jsonl file, a .yaml file of lm-eval, ``lm_eval:NAME`` or ``lmms_eval:NAME``."""
    if named == SentinelTask.name:
        return SentinelTask(markup)
    path = Path(named)
    if path.suffix == ".jsonl":
        return JsonlTask(path)
    package, separator, name = named.partition(":")
    if path.suffix in (".yaml", ".yml") or (separator and package in ("lm_eval", "lmms_eval")):
        from harness.tasks.evaluation_harness import EvaluationHarnessTask

        if separator and package in ("lm_eval", "lmms_eval"):
            return EvaluationHarnessTask(package, name)
        return EvaluationHarnessTask("lm_eval", _name_in(path), path.parent)
    raise UsageError(f"task: {named!r} is none of sentinel, FILE.jsonl, FILE.yaml, lm_eval:NAME, lmms_eval:NAME")


def _name_in(path: Path) -> str:
    if not path.is_file():
        raise UsageError(f"task: no file at {path}")
    found = TASK_NAME.search(path.read_text(encoding="utf-8"))
    if found is None:
        raise UsageError(f"task: {path} names no task (task: NAME)")
    return found[1]
