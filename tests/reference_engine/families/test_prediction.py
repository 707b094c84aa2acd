"""For every family: a prediction from files and sizes alone is what transformers makes and what the engine runs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from reference_engine import EngineConfig, Request
from reference_engine.predict import Predictor
from reference_engine.sentinels import resolve_model

FEW = 5


@pytest.fixture(scope="module")
def predictor(family: Any, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """Of a copy of the checkpoint without its weights."""
    path: Path = tmp_path_factory.mktemp("weightless") / "model"
    shutil.copytree(resolve_model(family.name), path, ignore=shutil.ignore_patterns("*.safetensors"))
    return Predictor(EngineConfig(model=str(path)))


def test_prediction_is_what_runs(family: Any, predictor: Predictor) -> None:
    engine = family.engine()
    for i, (case, right) in enumerate(family.cases(FEW)):
        sizes, videos = [image.size for image in case.images], [video.size for video in case.videos]
        found = predictor.predict(Request("p", text=case.text), sizes, videos)
        assert found.prompt_ids == right.prompt_ids
        again = predictor.predict(Request("q", input_ids=found.prompt_ids), sizes, videos)
        assert (again.prompt_ids, again.items) == (found.prompt_ids, found.items)
        [answer] = engine.generate([case.request(f"predicted-{i}", want_evidence=True)])
        evidence = answer.evidence
        assert found.usage == {"prompt_tokens": answer.prompt_tokens}
        assert (found.mrope_delta, found.positions_digest) == (evidence.mrope_delta, evidence.positions_digest)
        told = [(item.spans, item.placeholders, item.grids) for item in found.items]
        assert told == [(item.spans, item.placeholders, item.grids) for item in evidence.items]
