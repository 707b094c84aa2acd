"""A prediction is exactly what the engine runs, and needs neither weights nor pixels."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from reference_engine import ConfigError, EngineConfig, Request, RequestError, SamplingParams
from reference_engine.multimodal.mrope import positions_digest
from reference_engine.predict import Prediction, Predictor
from reference_engine.predict_cli import main


@pytest.fixture(scope="module")
def weightless(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weightless") / "model"
    shutil.copytree(bench.path, path, ignore=shutil.ignore_patterns("*.safetensors"))
    assert not list(path.glob("*.safetensors"))
    return path


def seen(evidence: Any) -> tuple[Any, ...]:
    """What an engine's evidence and a prediction both tell."""
    items = [(i.item, i.size, i.spans, i.placeholders, i.grids) for i in evidence.items]
    return evidence.prompt_ids, items, evidence.mrope_delta, evidence.positions_digest


@pytest.mark.parametrize("settings", [{}, {"avoid_retokenize": False}, {"slice_rows": 3}])
def test_equal_to_what_the_engine_runs(bench: Any, weightless: Path, make_cases: Any, settings: dict[str, Any]) -> None:
    engine = bench.engine(**settings)
    predictor = Predictor(EngineConfig(model=str(weightless), **settings))
    for i, case in enumerate(make_cases(20, seed=51)):
        sizes = [image.size for image in case.images]
        ids = engine.codec.encode(case.text)
        split = [*ids[:-1], *engine.codec.encode("D"), *engine.codec.encode("escribe")]
        forms: list[dict[str, Any]] = [{}, {"text": None, "input_ids": ids}, {"text": None, "input_ids": split}]
        requests = [case.request(f"{i}-{j}", want_evidence=True, **form) for j, form in enumerate(forms)]
        for request in requests:
            request.sampling = SamplingParams(max_new_tokens=1)
        for request, answer in zip(requests, engine.generate(requests), strict=True):
            sent = Request("p", text=request.text, input_ids=request.input_ids, want_evidence=True)
            if answer.error is not None:
                with pytest.raises(RequestError, match=re.escape(str(answer.error))):
                    predictor.predict(sent, sizes)
                continue
            found = predictor.predict(sent, sizes)
            assert seen(found) == seen(answer.evidence)
            assert found.usage == {"prompt_tokens": answer.prompt_tokens}
            assert found.placement == answer.evidence.toggles["avoid_retokenize"]["reason"]


def test_positions_are_told_in_full_on_request(weightless: Path) -> None:
    import torch

    predictor = Predictor(EngineConfig(model=str(weightless)))
    request = Request("a", text="two <|image_pad|> and <|image_pad|>")
    plain, full = (predictor.predict(request, [(153, 174), (365, 211)], positions=on) for on in (False, True))
    assert plain.positions is None
    assert full.positions is not None
    assert positions_digest(torch.tensor(full.positions)) == plain.positions_digest
    assert [len(row) for row in full.positions] == [plain.usage["prompt_tokens"]] * 3


@pytest.mark.parametrize(
    ("request_", "sizes", "field", "status"),
    [
        (Request("a", text="no placeholder"), [(56, 56)], "text", 422),
        (Request("a", text="<|image_pad|>"), [], "text", 422),
        (Request("a", input_ids=[1, 99999]), [], "input_ids[1]", 400),
        (Request("a", text="<|image_pad|>"), [(0, 56)], "image_sizes[0]", 400),
        (Request("a", text="<|image_pad|>"), [(100_000, 100_000)], "image_sizes[0]", 413),
        (Request("a", text="<|image_pad|>"), [(1, 300)], "image_data[0]", 400),
        (Request("a", text="<|image_pad|>" * 33), [(56, 56)] * 33, "image_sizes", 413),
    ],
)
def test_what_an_engine_refuses_is_refused(
    weightless: Path, request_: Request, sizes: list[tuple[int, int]], field: str, status: int
) -> None:
    with pytest.raises(RequestError) as caught:
        Predictor(EngineConfig(model=str(weightless))).predict(request_, sizes)
    assert (caught.value.field, caught.value.status) == (field, status)


def test_a_planted_fault_of_the_engine_shows_against_the_prediction(bench: Any, weightless: Path, picture: Any) -> None:
    request = Request("a", text="<|image_pad|>read", images=[picture((365, 211), 0)], want_evidence=True)
    request.sampling = SamplingParams(max_new_tokens=1)
    [answer] = bench.engine(plant="mrope-swap-hw").generate([request])
    found: Prediction = Predictor(EngineConfig(model=str(weightless))).predict(
        Request("p", text=request.text), [(365, 211)]
    )
    assert found.prompt_ids == answer.evidence.prompt_ids
    assert found.positions_digest != answer.evidence.positions_digest


def test_the_command_tells_numbers_to_people_and_all_of_it_to_programs(
    weightless: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (365, 211)).save(tmp_path / "a.png")
    line = [str(weightless), "--chat", "read both", "--image", str(tmp_path / "a.png")]
    assert main([*line, "--image", "28x56", "--json"]) == 0
    by_size = json.loads(capsys.readouterr().out)
    assert main([*line, "--image", str(tmp_path / "a.png"), "--json", "--positions"]) == 0
    by_content = json.loads(capsys.readouterr().out)
    assert by_size["items"][0] == by_content["items"][0]
    assert by_size["usage"]["prompt_tokens"] == len(by_size["prompt_ids"])
    assert "positions" not in by_size
    assert len(by_content["positions"]) == 3
    assert main([*line, "--image", "28x56"]) == 0
    table = capsys.readouterr().out
    assert f"prompt tokens   {by_size['usage']['prompt_tokens']}\n" in table
    assert "image 1     28x56        2       " in table
    body = {"input_ids": by_size["prompt_ids"], "image_sizes": [[365, 211], [28, 56]]}
    (tmp_path / "body.json").write_text(json.dumps(body))
    assert main([str(weightless), "--request", str(tmp_path / "body.json"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == by_size["items"]


@pytest.mark.parametrize(
    ("more", "code", "words"),
    [
        (["--text", "no", "--image", "56x56"], 1, "refused (422): text: holds 0 image placeholder(s)"),
        (["--input-ids", "1, x"], 1, "--input-ids: invalid literal"),
        (["--text", "a", "--image", "nowhere.png"], 2, "nowhere.png"),
        (["--text", "a", "--chat", "b"], 2, "not allowed with"),
        ([], 2, "required"),
    ],
)
def test_the_command_says_what_is_wrong(
    weightless: Path, more: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(weightless), *more]) == code
    assert words in capsys.readouterr().err


def test_a_model_that_is_not_served_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ConfigError, match="type 'bert' is not served"):
        Predictor(EngineConfig(model=str(tmp_path)))
