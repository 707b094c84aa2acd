"""One prompt in every form that an engine takes: text, ids, ids expanded already, ids that no tokenizer would make, and
with a processor's output, its own or another prompt's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from harness.differential.cases import Case
from reference_engine import Engine
from reference_engine.multimodal.family import Divides
from reference_engine.multimodal.processor_output import ProcessorOutput

NO_SUCH = 7


@dataclass(frozen=True)
class Form:
    """``like`` is the case whose answer it must have; empty where it has one of its own."""

    case: Case
    like: str = ""


def forms_of(engine: Engine, case: Case) -> list[Form]:
    """All other forms of a case of text and images. ``engine`` is one that is trusted."""
    request = case.request()
    prompt = engine.prepare(request)
    text = str(request.text)
    ids = engine.codec.encode(text)
    media = {name: value for name, value in case.make().items() if name != "text"}
    made = [
        Form(_form(case, "ids", {**media, "input_ids": ids}), case.name),
        Form(_form(case, "expanded", {**media, "input_ids": prompt.ids}), case.name),
        Form(_form(case, "odd", {**media, "input_ids": _odd(engine, text)})),
    ]
    if isinstance(engine.family, Divides) and prompt.items and not request.videos:
        tensors = engine.family.collate([item.pixels for item in prompt.items])
        own = ProcessorOutput(list(prompt.ids), tensors, prompt.positions_3L, prompt.delta)
        made += [Form(_form(case, name, fields), case.name) for name, fields in _processed(media, text, ids, own)]
    return made


def _processed(
    media: dict[str, Any], text: str, ids: list[int], own: ProcessorOutput
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Its own output alone and beside the media; then outputs with something in them that is not this prompt's."""
    assert own.mrope_positions is not None
    yield "processed", {"processor_output": own}
    yield "processed-ids", {**media, "input_ids": ids, "processor_output": own}
    yield "processed-without-positions", {"processor_output": replace(own, mrope_positions=None)}
    other = replace(own, input_ids=[*own.input_ids[:-1], NO_SUCH], tensors=_other(own.tensors))
    yield "another-prompts", {**media, "text": text, "processor_output": other}
    wrong = {
        "other-delta": replace(own, mrope_position_delta=(own.mrope_position_delta or 0) + 1),
        "four-rows": replace(own, mrope_positions=torch.cat([own.mrope_positions, own.mrope_positions[:1]])),
        "batched": replace(own, mrope_positions=own.mrope_positions[:, None]),
        "short": replace(own, mrope_positions=own.mrope_positions[:, :-1]),
        "later": replace(own, mrope_positions=own.mrope_positions + 1),
    }
    for name, output in wrong.items():
        yield name, {**media, "text": text, "processor_output": output}


def _other(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Of another image of the size."""
    return {name: -value if value.is_floating_point() else value for name, value in tensors.items()}


def poisoned(engine: Engine, case: Case) -> Case | None:
    """The case with pixels that are not numbers; None where no such thing can be sent."""
    prompt = engine.prepare(case.request())
    if not isinstance(engine.family, Divides) or not prompt.items:
        return None
    tensors = dict(engine.family.collate([item.pixels for item in prompt.items]))
    tensors = {k: v * float("nan") if v.is_floating_point() else v for k, v in tensors.items()}
    return _form(case, "poisoned", {"processor_output": ProcessorOutput(list(prompt.ids), tensors)})


def _odd(engine: Engine, text: str) -> list[int]:
    """Special tokens as they are, everything else letter by letter."""
    ids: list[int] = []
    special = set(engine.codec.special.values())
    for token in engine.codec.encode(text):
        letters = [token] if token in special else [i for c in engine.codec.decode([token]) for i in _letter(engine, c)]
        ids += letters
    return ids


def _letter(engine: Engine, character: str) -> list[int]:
    return engine.codec.encode_plain(character)


def _form(case: Case, name: str, fields: dict[str, Any]) -> Case:
    return replace(case, name=f"{case.name} as {name}", make=lambda: dict(fields), group="form")
