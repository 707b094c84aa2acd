"""Answers held to a grammar: complete or cut, alone or in company, whatever happens to their blocks."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch

from reference_engine import Answer, Engine, EngineConfig, Request, RequestError, SamplingParams
from reference_engine.grammar import Grammars

pytest.importorskip("llguidance", reason="an extra")
COLOURS = ["red", "grün", "藍"]
SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer", "minimum": 0, "maximum": 99},
        "colour": {"enum": COLOURS},
        "flags": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 2},
    },
    "required": ["n", "colour", "flags"],
    "additionalProperties": False,
}
JSON = json.dumps(SCHEMA)
PROMPT = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(EngineConfig(num_blocks=64, check_every_step=True))


def conforms(text: str) -> bool:
    found = json.loads(text)
    return (
        set(found) == set(SCHEMA["properties"])
        and isinstance(found["n"], int)
        and 0 <= found["n"] <= 99
        and found["colour"] in COLOURS
        and 1 <= len(found["flags"]) <= 2
        and all(isinstance(flag, bool) for flag in found["flags"])
    )


def asking(name: str, **sampling: Any) -> Request:
    return Request(name, text=PROMPT, sampling=SamplingParams(**({"max_new_tokens": 150, "seed": 5} | sampling)))


def test_every_walk_through_the_mask_is_an_answer(engine: Engine) -> None:
    """Tokens drawn at random among those allowed, the end token as soon as it is."""
    grammars = Grammars(engine.codec, engine.geometry.eos_ids)
    ends = sorted(engine.geometry.eos_ids)
    generator = torch.Generator().manual_seed(0)
    for _ in range(30):
        grammar, ids = grammars.start(SamplingParams(json_schema=JSON)), []
        assert grammar is not None
        while not (allowed := grammar.allowed_V())[ends].all():
            assert not allowed[ends].any()
            assert len(ids) < 200
            places = allowed.nonzero()[:, 0]
            ids.append(int(places[torch.randint(len(places), (1,), generator=generator)]))
            grammar.advance(ids[-1])
        assert conforms(engine.codec.text(ids))
        assert grammar.failure is None


def test_a_token_that_is_not_allowed_fails_the_grammar_and_its_row(engine: Engine) -> None:
    grammar = Grammars(engine.codec, engine.geometry.eos_ids).start(SamplingParams(regex="[0-9]+"))
    assert grammar is not None
    grammar.advance(engine.codec.encode_plain("x")[0])
    assert grammar.failure is not None
    assert (grammar.failure.field, grammar.failure.status) == ("sampling_params.regex", 500)


def test_a_grammar_that_grows_too_complex_is_the_callers_fault(engine: Engine) -> None:
    shape = {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(600)}}
    [answer] = engine.generate([asking("a", json_schema=json.dumps(shape))])
    assert answer.error is not None
    assert (answer.error.field, answer.error.status) == ("sampling_params.json_schema", 422)
    assert "max is 2000" in answer.error.message
    assert "\n" not in answer.error.message


class SlowGrammars(Grammars):
    """Whose compiler stops at ``slow`` until it is let go."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine.codec, engine.geometry.eos_ids)
        self.began, self.go = threading.Event(), threading.Event()

    def _compile(self, name: str, source: str) -> Any:
        if source == "slow":
            self.began.set()
            assert self.go.wait(60)
        return super()._compile(name, source)


def test_a_hard_grammar_holds_nobody_up(engine: Engine) -> None:
    """The engine's thread among them, which starts the grammars that were compiled for it."""
    grammars = SlowGrammars(engine)
    grammars.start(SamplingParams(regex="kept"))
    with ThreadPoolExecutor(3) as pool:
        slow = pool.submit(grammars.start, SamplingParams(regex="slow"))
        try:
            assert grammars.began.wait(60)
            for name in ("kept", "new"):
                assert pool.submit(grammars.start, SamplingParams(regex=name)).result(60) is not None
        finally:
            grammars.go.set()
        assert slow.result(60) is not None


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_all_choices_hold_and_company_changes_nothing(engine: Engine, temperature: float) -> None:
    held = asking("held", json_schema=JSON, n=3, temperature=temperature)
    digits = asking("digits", regex="[0-9]{3}(-[0-9]{2})*", temperature=temperature)
    free = asking("free", max_new_tokens=12, temperature=temperature)
    alone = [answer for request in (held, digits, free) for answer in engine.generate([request])]
    together = engine.generate([held, digits, free])
    assert [a.output_ids for a in together] == [a.output_ids for a in alone]
    for answer in together[:3]:
        assert answer.finish_reason == "stop"
        assert conforms(answer.text)
    if temperature:
        assert len({answer.text for answer in together[:3]}) > 1
        assert re.fullmatch("[0-9]{3}(-[0-9]{2})*", together[3].text)


def test_preemption_loses_no_place_in_the_grammar(engine: Engine) -> None:
    request = asking("a", json_schema=JSON, n=2, temperature=1.0)
    expected = engine.generate([request])
    engine.submit(request)
    made: list[Answer] = []
    step = 0
    while engine.has_work():
        made += [output.answer for output in engine.step() if output.answer is not None]
        step += 1
        if step % 4 == 0:
            engine.preempt("a")
    assert sorted((a.index, a.text) for a in made) == [(a.index, a.text) for a in expected]
    assert engine.counters()["preemptions_total"] > 0


def test_other_parameters_change_the_choice_but_never_the_grammar(engine: Engine) -> None:
    brace = engine.codec.encode_plain("}")[0]
    changes: list[dict[str, Any]] = [
        {"temperature": 3.0, "top_k": 5},
        {"temperature": 2.0, "top_p": 0.5, "frequency_penalty": 2.0},
        {"logit_bias": {brace: 100.0, engine.codec.encode_plain("x")[0]: 100.0}},
        {"temperature": 1.0, "min_p": 0.2, "repetition_penalty": 3.0},
    ]
    for answer in engine.generate([asking(str(i), json_schema=JSON, **one) for i, one in enumerate(changes)]):
        assert conforms(answer.text), answer


def test_a_cut_answer_begins_one(engine: Engine) -> None:
    whole, cut = engine.generate([asking("w", json_schema=JSON), asking("c", json_schema=JSON, max_new_tokens=4)])
    assert cut.finish_reason == "length"
    assert whole.text.startswith(cut.text)


@pytest.mark.parametrize(
    ("sampling", "field", "says"),
    [
        ({"json_schema": "{"}, "json_schema", "not the text of a JSON object"),
        ({"json_schema": "[]"}, "json_schema", "not the text of a JSON object"),
        ({"json_schema": ""}, "json_schema", "is not a text of 1 to"),
        ({"json_schema": '{"type": "objec"}'}, "json_schema", "cannot be held: Invalid type: objec"),
        ({"json_schema": '{"not": {"type": "string"}}'}, "json_schema", 'Unimplemented keys: ["not"]'),
        ({"json_schema": '{"a":' * 5000 + "1" + "}" * 5000}, "json_schema", ""),
        ({"json_schema": '{"$ref": "#"}'}, "json_schema", "cannot be held: NoExtension"),
        ({"regex": "(a|b)?" * 3000}, "regex", "cannot be held: lexer"),
        ({"regex": "a" * 40_000}, "regex", "is not a text of 1 to 32768"),
        ({"regex": "("}, "regex", "cannot be held"),
        ({"regex": "(" * 9000 + ")" * 9000}, "regex", "cannot be held"),
        ({"regex": "a", "json_schema": JSON}, "regex", "held to one of them"),
        ({"regex": "a", "ignore_eos": True}, "ignore_eos", "cannot be kept beside regex"),
        ({"json_schema": JSON, "min_new_tokens": 3}, "min_new_tokens", "cannot be kept beside json_schema"),
    ],
)
def test_what_cannot_be_held_is_refused_by_name(engine: Engine, sampling: Any, field: str, says: str) -> None:
    with pytest.raises(RequestError) as caught:
        engine.prepare(asking("a", **sampling))
    assert (caught.value.field, caught.value.status) == (f"sampling_params.{field}", 400)
    assert says in caught.value.message


def test_without_a_tokenizer_nothing_can_be_held() -> None:
    engine = Engine(EngineConfig(num_blocks=16, skip_tokenizer_init=True))
    request = replace(asking("a", regex="a"), text=None, input_ids=[5])
    with pytest.raises(RequestError, match="skip_tokenizer_init"):
        engine.prepare(request)


def test_without_end_tokens_nothing_can_be_held(engine: Engine) -> None:
    with pytest.raises(RequestError, match="no end token") as caught:
        Grammars(engine.codec, ()).start(SamplingParams(regex="a"))
    assert caught.value.status == 422


def test_sentence_pieces_are_held_too(engine: Engine) -> None:
    """A vocabulary spelled as text, with one byte a token where there is no piece."""
    from reference_engine.detokenizer import SpelledText, Spellings

    pieces: list[str | bytes] = ["", *(bytes([b]) for b in range(256)), " ", '{"', '":', "true", "grün", " 7"]

    class Pieces:
        vocabulary, tokenizer = len(pieces), object()
        spellings = Spellings(pieces, frozenset({0}), whole_runs=True)

        def encode_plain(self, text: str) -> list[int]:
            return [1 + byte for byte in text.encode()]

    codec: Any = Pieces()
    grammar, text = Grammars(codec, [0]).start(SamplingParams(json_schema=JSON)), SpelledText(codec.spellings)
    assert grammar is not None
    said, generator = "", torch.Generator().manual_seed(1)
    while not (allowed := grammar.allowed_V())[0]:
        places = allowed.nonzero()[:, 0]
        token = int(places[torch.randint(len(places), (1,), generator=generator)])
        grammar.advance(token)
        said += text.push(token)
    assert conforms(said + text.finish())
