"""The packaged sentinels: each loads like any model of its family, answers, is sensitive, and its files are what the
script makes."""

from __future__ import annotations

import filecmp
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reference_engine.errors import ConfigError
from reference_engine.sentinels import PACKAGED, resolve_model
from reference_engine.sentinels.architectures import ARCHITECTURES, architecture_of
from reference_engine.sentinels.architectures.base import Architecture
from reference_engine.sentinels.cases import Case, answered_right, encode_cases, make_cases
from reference_engine.sentinels.evaluate import REQUIRED_ACCURACY, accuracy_by_kind, load, main
from reference_engine.sentinels.misplacements import misplacements_of
from reference_engine.sentinels.sensitivity import REQUIRED_LOSS

COUNT = 96
REQUIRED = [
    pytest.param(name, fault, id=f"{name}: {fault.name}")
    for name, path in PACKAGED.items()
    for fault in misplacements_of(architecture_of(path))
    if fault.required
]
every_sentinel = pytest.mark.parametrize("name", PACKAGED)


@dataclass(frozen=True)
class Sentinel:
    architecture: Architecture
    model: Any
    tokenizer: Any
    cases: list[Case]

    def accuracy(self, cases: list[Case]) -> float:
        return float(np.mean(answered_right(self.architecture, self.model, cases)))


@cache
def sentinel(name: str) -> Sentinel:
    architecture, model, tokenizer = load(name)
    cases = encode_cases(architecture, model, make_cases(architecture, tokenizer, COUNT, 99))
    return Sentinel(architecture, model, tokenizer, cases)


@every_sentinel
def test_it_is_its_familys_own_class_of_a_few_megabytes(name: str) -> None:
    it = sentinel(name)
    assert type(it.model).__name__ == it.architecture.model_class
    assert it.architecture.checkpoint == name
    assert it.model.config.text_config.hidden_size // it.model.config.text_config.num_attention_heads == 32
    weights = resolve_model(name) / "model.safetensors"
    assert weights.stat().st_size < 12_000_000
    assert sum(p.numel() for p in it.model.parameters()) * 4 == pytest.approx(weights.stat().st_size, rel=0.01)


@every_sentinel
def test_the_files_are_what_the_script_makes(name: str, tmp_path: Path) -> None:
    architecture, path = sentinel(name).architecture, resolve_model(name)
    architecture.save_tokenizer(tmp_path)
    for file in ("tokenizer.json", "vocab.json", "merges.txt", "chat_template.jinja"):
        assert filecmp.cmp(tmp_path / file, path / file, shallow=False), file
    for file, content in architecture.processor_files().items():
        assert json.loads((path / file).read_text()) == content, file


@every_sentinel
def test_describe_has_a_second_spelling(name: str) -> None:
    tokenizer = sentinel(name).tokenizer
    one, *rest = tokenizer("Describe")["input_ids"]
    spelled = tokenizer.convert_tokens_to_ids(["D", "escribe"])
    assert not rest
    assert one not in spelled
    assert tokenizer.decode(spelled) == "Describe"


@every_sentinel
def test_held_out_accuracy_meets_the_bar(name: str) -> None:
    *kinds, overall = accuracy_by_kind(name, 200, 7)
    assert overall.accuracy >= REQUIRED_ACCURACY
    assert {f.name for f in kinds} == set(sentinel(name).architecture.kinds)
    assert min(f.accuracy for f in kinds) >= 0.85


@pytest.mark.parametrize(("name", "fault"), REQUIRED)
def test_each_required_fault_costs_accuracy(name: str, fault: Any) -> None:
    it = sentinel(name)
    assert it.accuracy(fault.put_wrong(it.cases)) <= it.accuracy(it.cases) - REQUIRED_LOSS


@every_sentinel
def test_our_ids_positions_and_rows_are_transformers_own(name: str) -> None:
    """Prompts taken apart give the logits that the plain model gives on its plain processor's output."""
    it = sentinel(name)
    for case, inputs in zip(it.cases[:6], processed(name, it.cases[:6]), strict=True):
        prompt = case.prompt_length
        assert inputs["input_ids"][0].tolist() == case.ids[:prompt].tolist()
        with torch.inference_mode():
            expected = it.model(**inputs).logits[0, -1]
            ids, positions = torch.from_numpy(case.ids)[None], torch.from_numpy(case.positions)[:, None]
            hidden = it.architecture.hidden(it.model, ids, case.rows, positions, None)
            ours = it.model.lm_head(hidden[0, prompt - 1])
        assert (ours - expected).abs().max() < 0.05 * expected.std()  # thumbnails are scaled by PIL here


@every_sentinel
def test_teacher_forcing_agrees_with_generate(name: str) -> None:
    """The tables judge by argmax on the answer; greedy decoding must come to the same verdicts."""
    it = sentinel(name)
    cases = it.cases[:12]
    judged = answered_right(it.architecture, it.model, cases)
    for case, inputs, right in zip(cases, processed(name, cases), judged, strict=True):
        answer = case.ids[case.prompt_length :].tolist()
        out = it.model.generate(**inputs, max_new_tokens=len(answer), do_sample=False)[0, case.prompt_length :]
        assert (out.tolist() == answer) == right


def processed(name: str, cases: list[Case]) -> list[Any]:
    """What ``AutoProcessor`` makes of the cases' prompts."""
    from transformers import AutoProcessor

    it, processor = sentinel(name), AutoProcessor.from_pretrained(resolve_model(name))
    made = []
    for case in cases:
        text = it.tokenizer.decode(case.ids[: case.prompt_length].tolist())
        for image in case.images:
            text = text.replace(it.architecture.image_text(image.shape), it.architecture.markup, 1)
        images = [image.to_pil() for image in case.images]
        made.append(processor(text=[text], images=images, return_tensors="pt"))
    return made


def test_every_architecture_is_packaged() -> None:
    assert {architecture_of(path).name for path in PACKAGED.values()} == set(ARCHITECTURES)


def test_a_model_that_does_not_exist_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"'sentinel-gpt' is neither a directory .* \(sentinel-idefics3, "):
        resolve_model("sentinel-gpt")
    assert main(["accuracy", "--model", "sentinel-gpt"]) == 2
    assert "sentinel-gpt" in capsys.readouterr().err


def test_a_model_of_another_type_is_refused_by_type(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ConfigError, match=r"is of type 'gpt2'; sentinels are qwen2_5_vl, qwen3_vl, idefics3"):
        load(str(tmp_path))
