"""A task of one's own: a file with one JSON object a line.

    {"images": ["chart.png"], "question": "How many bars?", "answer": "7", "scorer": "number"}
    {"images": ["a.png", "b.png"], "question": "Which is newer?", "choices": ["first", "second"], "answer": "second"}

``images`` are paths from the file's own folder (``image`` for a single one); ``scorer`` is exact, contains, number or
choice, by default choice where there are choices, else exact; ``id`` and ``max_new_tokens`` may be given.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from harness.errors import UsageError
from harness.json_lines import read_lines
from harness.tasks.base import Sample
from harness.tasks.scoring import find_scorer

KEYS = frozenset({"id", "image", "images", "question", "answer", "choices", "scorer", "max_new_tokens"})


class JsonlTask:
    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UsageError(f"task: no file at {path}")
        self.name, self._path = path.stem, path

    def samples(self, count: int | None, seed: int) -> list[Sample]:
        """All lines in their order; for a count, so many of them, drawn with the seed."""
        lines = list(enumerate(read_lines(self._path), 1))
        filled = [(number, line) for number, line in lines if line.strip()]
        if count is not None and count < len(filled):
            filled = sorted(random.Random(seed).sample(filled, count))
        samples = [self._sample(number, line) for number, line in filled]
        if not samples:
            raise UsageError(f"task: {self._path} holds no questions")
        names = [sample.name for sample in samples]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UsageError(f"task: {self._path}: id {twice!r} is there twice")
        return samples

    def _sample(self, number: int, line: bytes) -> Sample:
        try:
            fields = json.loads(line)
            if not isinstance(fields, dict):
                raise UsageError("is no JSON object")
            return self._read(number, fields)
        except (ValueError, OSError, UsageError) as error:
            raise UsageError(f"task: {self._path}:{number}: {error}") from None

    def _read(self, number: int, fields: Mapping[str, Any]) -> Sample:
        if unknown := sorted(fields.keys() - KEYS):
            raise UsageError(f"unknown key {unknown[0]!r}; known: {', '.join(sorted(KEYS))}")
        for name in ("question", "answer"):
            if name not in fields:
                raise UsageError(f"{name} is missing")
        paths = fields.get("images", [fields["image"]] if "image" in fields else [])
        choices = [str(one) for one in fields.get("choices", ())]
        scorer = find_scorer(fields.get("scorer") or ("choice" if choices else "exact"))
        right = str(fields["answer"])
        scorer("", right, choices)
        return Sample(
            name=str(fields.get("id", f"{self.name}-{number:04d}")),
            images=[self._image(path) for path in paths],
            question=str(fields["question"]),
            expected=right,
            right=lambda text: scorer(text, right, choices),
            max_new_tokens=int(fields.get("max_new_tokens", 16)),
        )

    def _image(self, path: str) -> Image.Image:
        with Image.open(self._path.parent / path) as image:
            image.load()
            return image
