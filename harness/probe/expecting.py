"""What the server must run for a chat, predicted from its model's files of configuration: no weights. Imports torch,
so it is imported only where a model was named.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.probe.asking import Ask
from reference_engine.config import EngineConfig
from reference_engine.errors import ConfigError, RequestError
from reference_engine.predict import Predictor
from reference_engine.sentinels import PACKAGED
from reference_engine.server.chat import ChatPrompts
from reference_engine.server.limits import Limits
from reference_engine.server.predicting import answer_predict

FILES = ["*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt", "*.tiktoken", "*.py"]
"""What is taken of a model on the Hub: never its weights."""


class Expected:
    def __init__(self, model: str) -> None:
        try:
            self._predictor = Predictor(EngineConfig(model=_files(model), max_prompt_tokens=1 << 20))
        except ConfigError as error:
            raise UsageError(f"--model: {error}") from error
        self._prompts = ChatPrompts(self._predictor.codec)

    def chat(self, ask: Ask) -> dict[str, Any] | str:
        """As ``/predict`` answers; or why the chat is to be refused."""
        sizes = [[picture.width, picture.height] for picture in ask.pictures]
        body = {"messages": ask.messages(), "image_sizes": sizes}
        try:
            found: dict[str, Any] = answer_predict(json.dumps(body).encode(), self._predictor, self._prompts, Limits())
        except RequestError as error:
            return str(error)
        return found

    def encode(self, text: str) -> list[int]:
        return self._predictor.codec.encode(text)

    def decode(self, ids: Sequence[int]) -> str:
        """As an answer's text: special tokens left out."""
        return self._predictor.codec.text(list(ids))

    @property
    def special(self) -> dict[str, int]:
        return dict(self._predictor.codec.special)

    @property
    def placeholder(self) -> int | None:
        """The id that stands for a place of an image."""
        return self._predictor.placer.family.placeholders.get("image")


def _files(model: str) -> str:
    """A folder or a packaged name as it is; of a model on the Hub, its small files."""
    if "/" not in model or Path(model).exists() or model in PACKAGED:
        return model
    from huggingface_hub import snapshot_download

    try:
        return snapshot_download(model, allow_patterns=FILES)
    except (OSError, ValueError) as error:
        raise UsageError(f"--model: {model} is no folder, and cannot be had from the Hub: {error}") from error
