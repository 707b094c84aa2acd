"""What the halves are taught: codes that say what a cell shows, prompts laid out as the processor lays them out."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch

from reference_engine.sentinels.architectures import ARCHITECTURES
from reference_engine.sentinels.architectures.base import IGNORED, Architecture
from reference_engine.sentinels.digits import shared_bank
from reference_engine.sentinels.tasks import CELL, COLOUR_NAMES, choose_shapes, make_image
from reference_engine.sentinels.training.language import judge_batches, train_language
from reference_engine.sentinels.training.packing import IdealPool, Sequence, Words, pack
from reference_engine.sentinels.training.tower import train_tower

every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)


@cache
def tokenizer(architecture: Architecture) -> Any:
    with TemporaryDirectory() as scratch:
        return architecture.save_tokenizer(Path(scratch))


def packed(architecture: Architecture, count: int, level: int = 2) -> list[Sequence]:
    rng, words = np.random.default_rng(5), Words(tokenizer(architecture))
    return [pack(rng, words, IdealPool(architecture), architecture, level) for _ in range(count)]


@every_architecture
def test_codes_say_what_each_row_tells_and_nothing_else(architecture: Architecture) -> None:
    rng, bank = np.random.default_rng(0), shared_bank("test", CELL)
    for shape in choose_shapes(rng, architecture.limits, min_images=4):
        labels = architecture.labels(make_image(rng, bank, shape, architecture.limits))
        rows = architecture.codes(labels)
        assert rows.shape == (len(architecture.cells(shape)), architecture.levels, 128)
        for attribute, codes, told in zip(architecture.attributes, architecture.code_book(), labels.T, strict=True):
            share = rows[:, attribute.level] @ codes.T / codes[0].square().sum()
            expected = torch.zeros_like(share)
            for row, label in enumerate(told):
                if label != IGNORED:
                    expected[row, label] = 1.0
            assert torch.allclose(share, expected, atol=1e-5)


@every_architecture
def test_every_attribute_of_every_cell_is_told_by_some_row(architecture: Architecture) -> None:
    rng, bank = np.random.default_rng(0), shared_bank("test", CELL)
    for shape in choose_shapes(rng, architecture.limits, min_images=4):
        labels = architecture.labels(make_image(rng, bank, shape, architecture.limits))
        assert (labels != IGNORED).any(0).all()
        assert (labels != IGNORED).any(1).all()
        cells = architecture.cells(shape)
        seen = {tuple(cell) for cell in cells.tolist() if cell[0] != IGNORED}
        assert seen == set(np.ndindex(*shape))


@every_architecture
def test_an_answer_is_what_its_row_tells(architecture: Architecture) -> None:
    words = tokenizer(architecture)
    for sequence in packed(architecture, 20):
        for at, (image, row, column, *told) in sequence.sources.items():
            said = words.decode([sequence.ids[at + 1]]).strip()
            grid = sequence.images[image].image
            if said in COLOUR_NAMES:
                assert COLOUR_NAMES.index(said) == grid.colours[row, column] == told[1]
            else:
                assert int(said) == grid.digits[row, column]
                assert told[0] in (int(said), int(said) // 2)
                assert architecture.name != "qwen3_vl" or told[2] == int(said) % 2


@every_architecture
def test_a_packed_turn_is_placed_as_the_prompt_alone_would_be(architecture: Architecture) -> None:
    placeholder = tokenizer(architecture).convert_tokens_to_ids(architecture.placeholder)
    for sequence in packed(architecture, 20):
        segment = np.array(sequence.segment)
        seen = segment <= 1
        ids, positions = np.array(sequence.ids)[seen], np.concatenate(sequence.positions, 1)[:, seen]
        shapes = [encoded.image.shape for encoded in sequence.images]
        assert (ids == placeholder).sum() == sum(len(encoded.rows) for encoded in sequence.images)
        assert (positions == architecture.positions(ids == placeholder, shapes)).all()


@every_architecture
def test_each_half_trains_its_own_parameters(architecture: Architecture) -> None:
    torch.manual_seed(0)
    model, pool = architecture.build_model(tokenizer(architecture)), IdealPool(architecture)
    architecture.speed_up(model)
    fresh = {name: t.clone() for name, t in model.state_dict().items()}

    def changed() -> set[bool]:
        return {architecture.in_tower(n) for n, t in model.state_dict().items() if not torch.equal(t, fresh[n])}

    (figures,) = train_tower(architecture, model, steps=1, seed=0, large_from=0.0)
    assert changed() == {True}
    assert set(figures) == {"step", "loss", "distance", *(attribute.name for attribute in architecture.attributes)}
    fresh = {name: t.clone() for name, t in model.state_dict().items()}
    judged = judge_batches(architecture, tokenizer(architecture), pool, 1, count=1)
    (figures,) = train_language(architecture, model, tokenizer(architecture), pool, judged, steps=1, seed=0, peak=1e-3)
    assert changed() == {False}
    assert figures["overall"] < 0.2
