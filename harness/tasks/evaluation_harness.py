"""A task of lm-eval or lmms-eval, where that package is installed: its documents, its prompts, its own scores.

``lm_eval:NAME``, ``lmms_eval:NAME``, or the path of a task's YAML file (lm-eval's form). Only tasks that generate until
a stop; a document counts as right where the task's first metric gives it at least one half.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from PIL import Image

from harness.errors import UsageError
from harness.tasks.base import Sample

PACKAGES = {"lm_eval": "lm-eval", "lmms_eval": "lmms-eval"}
GENERATES = "generate_until"
TOKENS = 16
MARK = "<image>"
"""What lm-eval's prompts have in place of an image."""


class EvaluationHarnessTask:
    def __init__(self, package: str, name: str, folder: Path | None = None) -> None:
        self.name, self._package = name, package
        self._task = _load(package, name, folder)
        kind = self._task.config.output_type
        if kind != GENERATES:
            raise UsageError(
                f"task: {name} of {PACKAGES[package]} is of kind {kind}; only {GENERATES} can be asked of a server"
            )

    def samples(self, count: int | None, seed: int) -> list[Sample]:
        """The first ones, for a count: the task's own order."""
        documents = list(self._documents())[:count]
        return [self._sample(i, document) for i, document in enumerate(documents)]

    def _documents(self) -> Any:
        task = self._task
        return task.test_docs() if task.has_test_docs() else task.validation_docs()

    def _sample(self, number: int, document: Any) -> Sample:
        task = self._task
        arguments = task.config.generation_kwargs or {}
        return Sample(
            name=f"{self.name}-{number:04d}",
            images=list(self._images(document)),
            question=str(task.doc_to_text(document)).replace(MARK, "").strip(),
            expected=str(task.doc_to_target(document)),
            right=lambda text: self._right(document, text),
            max_new_tokens=int(arguments.get("max_gen_toks") or arguments.get("max_new_tokens") or TOKENS),
        )

    def _images(self, document: Any) -> Sequence[Image.Image]:
        task = self._task
        if self._package == "lmms_eval":
            return [one for one in task.doc_to_visual(document) or () if isinstance(one, Image.Image)]
        return [] if task.config.doc_to_image is None else _as_list(task.doc_to_image(document))

    def _right(self, document: Any, text: str) -> bool:
        stops = (self._task.config.generation_kwargs or {}).get("until") or ()
        for stop in [stops] if isinstance(stops, str) else stops:
            text = text.partition(stop)[0] if stop else text
        scores = self._task.process_results(document, [text])
        return float(next(iter(scores.values()))) >= 0.5


def _as_list(images: Any) -> list[Image.Image]:
    return list(images) if isinstance(images, list | tuple) else [images]


def _load(package: str, name: str, folder: Path | None) -> Any:
    try:
        tasks = import_module(f"{package}.tasks")
    except ModuleNotFoundError as error:
        raise UsageError(
            f"task: {name} needs {PACKAGES[package]} ({error.name} is missing): pip install {PACKAGES[package]}"
        ) from None
    own = {} if folder is None else {"include_path": str(folder), "include_defaults": False}
    manager = tasks.TaskManager(**own)
    if name not in manager.all_tasks:
        raise UsageError(f"task: {PACKAGES[package]} has no task {name!r}")
    return tasks.get_task_dict([name], manager)[name]
