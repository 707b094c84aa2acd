"""The packaged sentinel: loads like any Qwen2.5-VL, answers, is sensitive, and its files are what the script makes."""

from __future__ import annotations

import filecmp
from pathlib import Path

import numpy as np
import pytest
import torch

from reference_engine.errors import ConfigError
from reference_engine.sentinels import resolve_model
from reference_engine.sentinels.cases import answered_right, encode_cases, make_cases, mrope
from reference_engine.sentinels.evaluate import REQUIRED_ACCURACY, accuracy_by_kind, load, main
from reference_engine.sentinels.sensitivity import FAULTS, REQUIRED_LOSS
from reference_engine.sentinels.tokenizer import save_tokenizer
from reference_engine.sentinels.training.tower import patches

NAME = "sentinel-qwen2.5-vl"
COUNT = 160


@pytest.fixture(scope="module")
def sentinel():  # noqa: ANN201
    return load(NAME)


@pytest.fixture(scope="module")
def clean(sentinel):  # noqa: ANN001, ANN201
    model, tokenizer = sentinel
    return encode_cases(model, make_cases(tokenizer, COUNT, 99))


def test_it_is_plain_qwen2_5_vl_of_a_few_megabytes(sentinel) -> None:  # noqa: ANN001
    model, _ = sentinel
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    assert model.config.text_config.hidden_size // model.config.text_config.num_attention_heads == 32
    weights = resolve_model(NAME) / "model.safetensors"
    assert weights.stat().st_size < 10_000_000
    assert sum(p.numel() for p in model.parameters()) * 4 == pytest.approx(weights.stat().st_size, rel=0.01)


def test_the_tokenizer_is_what_the_script_makes(tmp_path: Path) -> None:
    save_tokenizer(tmp_path)
    for name in ("tokenizer.json", "vocab.json", "merges.txt", "chat_template.jinja"):
        assert filecmp.cmp(tmp_path / name, resolve_model(NAME) / name, shallow=False), name


def test_describe_has_a_second_spelling(sentinel) -> None:  # noqa: ANN001
    _, tokenizer = sentinel
    one, *rest = tokenizer("Describe")["input_ids"]
    spelled = tokenizer.convert_tokens_to_ids(["D", "escribe"])
    assert not rest
    assert one not in spelled
    assert tokenizer.decode(spelled) == "Describe"


def test_held_out_accuracy_meets_the_bar() -> None:
    *kinds, overall = accuracy_by_kind(NAME, 400, 7)
    assert overall.accuracy >= REQUIRED_ACCURACY
    assert min(f.accuracy for f in kinds) >= 0.9


@pytest.mark.parametrize("name", [name for name, (_, required) in FAULTS.items() if required])
def test_each_required_fault_costs_accuracy(name: str, sentinel, clean) -> None:  # noqa: ANN001
    model, _ = sentinel
    base = np.mean(answered_right(model, clean))
    assert np.mean(answered_right(model, FAULTS[name][0](clean))) <= base - REQUIRED_LOSS


def test_our_positions_are_transformers_positions(sentinel, clean) -> None:  # noqa: ANN001
    model, _ = sentinel
    for case in clean[:40]:
        ids = torch.from_numpy(case.ids)[None]
        kinds = (ids == model.config.image_token_id).int()
        grids = torch.tensor([[1, 2 * h, 2 * w] for h, w in (image.shape for image in case.images)])
        expected, _ = model.model.get_rope_index(ids, mm_token_type_ids=kinds, image_grid_thw=grids)
        ours = mrope(len(case.ids), case.starts, [image.shape for image in case.images])
        assert (expected[:, 0].numpy() == ours).all()


def test_teacher_forcing_agrees_with_generate(sentinel, clean) -> None:  # noqa: ANN001
    """The tables judge by argmax on the answer; greedy decoding must come to the same verdicts."""
    model, _ = sentinel
    judged = answered_right(model, clean[:24])
    for case, right in zip(clean[:24], judged, strict=True):
        prompt = torch.from_numpy(case.ids[: case.prompt_length])[None]
        is_image = prompt == model.config.image_token_id
        grids = torch.tensor([[1, 2 * h, 2 * w] for h, w in (image.shape for image in case.images)])
        pixels = torch.from_numpy(np.concatenate([patches(image) for image in case.images]))
        answer = case.ids[case.prompt_length :]
        out = model.generate(
            input_ids=prompt, attention_mask=torch.ones_like(prompt), mm_token_type_ids=is_image.int(),
            pixel_values=pixels, image_grid_thw=grids, max_new_tokens=len(answer), do_sample=False,
        )[0, case.prompt_length :]  # fmt: skip
        assert (out.tolist() == answer.tolist()) == right


def test_a_model_that_does_not_exist_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"'sentinel-gpt' is neither a directory .* \(sentinel-qwen2.5-vl\)"):
        resolve_model("sentinel-gpt")
    assert main(["accuracy", "--model", "sentinel-gpt"]) == 2
    assert "sentinel-gpt" in capsys.readouterr().err
