"""``n`` choices of one request: each an answer of its own, all of one prompt, whose images are encoded once."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch

from reference_engine import EncoderMismatch, Request, SamplingParams

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"
DRAWN = SamplingParams(max_new_tokens=10, temperature=2.0, seed=4, n=4, ignore_eos=True)


@pytest.fixture
def engine(lively: Any) -> Any:
    return lively.engine()


def request(picture: Any, name: str = "a", **fields: Any) -> Request:
    images = [picture((84, 56), 1), picture((56, 56), 2)]
    return Request(name, text=f"{IMAGE}{IMAGE}read", images=images, **({"sampling": DRAWN} | fields))


def drain(engine: Any) -> list[Any]:
    outputs: list[Any] = []
    while engine.has_work():
        outputs += engine.step()
    return outputs


def test_greedy_choices_are_the_same_and_drawn_ones_differ(engine: Any, picture: Any) -> None:
    alone = engine.generate([request(picture, sampling=replace(DRAWN, temperature=0.0, n=1))])[0]
    greedy = engine.generate([request(picture, sampling=replace(DRAWN, temperature=0.0))])
    assert [answer.index for answer in greedy] == [0, 1, 2, 3]
    assert [answer.output_ids for answer in greedy] == [alone.output_ids] * 4
    drawn = engine.generate([request(picture)])
    assert len({tuple(answer.output_ids) for answer in drawn}) == 4


def test_a_choice_depends_on_its_index_alone(lively: Any, engine: Any, picture: Any) -> None:
    four = [answer.output_ids for answer in engine.generate([request(picture)])]
    two = engine.generate([request(picture, sampling=replace(DRAWN, n=2))])
    assert [answer.output_ids for answer in two] == four[:2]
    crowded = lively.engine(num_blocks=24, block_size=8, max_batch_size=2, chunked_prefill=7)
    assert [answer.output_ids for answer in crowded.generate([request(picture)])] == four
    other = engine.generate([request(picture, sampling=replace(DRAWN, seed=5))])
    assert not {tuple(answer.output_ids) for answer in other} & {tuple(ids) for ids in four}


def test_choices_share_one_encoding(engine: Any, picture: Any) -> None:
    before = engine.counters()["encoder_items_total"]
    made = engine.generate([request(picture, want_evidence=True)])
    assert engine.counters()["encoder_items_total"] == before + 2
    assert [{item.source for item in answer.evidence.items} for answer in made] == [{"encoded"}, *[{"shared"}] * 3]
    digests = [[item.rows_digest for item in answer.evidence.items] for answer in made]
    assert digests == [digests[0]] * 4
    assert all(answer.evidence.prompt_ids == made[0].evidence.prompt_ids for answer in made)


def test_choices_that_wait_for_a_lane_share_the_encoding_too(lively: Any, picture: Any) -> None:
    engine = lively.engine(max_batch_size=1)
    before = engine.counters()["encoder_items_total"]
    engine.generate([request(picture)])
    assert engine.counters()["encoder_items_total"] == before + 2


def test_every_declared_field_reaches_every_choice(engine: Any, picture: Any) -> None:
    """sglang#27216: a sub-request made from a list of known fields loses the others."""
    values: dict[str, Any] = {"want_evidence": True, "want_logprobs": True, "top_logprobs": 3}
    one = request(picture, **values)
    engine.submit(one)
    choices = list(engine.scheduler.waiting)
    assert len(choices) == 4
    for i, choice in enumerate(choices):
        assert choice.index == choice.sampling.draws.index == i
        assert all(getattr(choice.request, f.name) is getattr(one, f.name) for f in fields(Request))
        assert all(getattr(choice.sampling.params, f.name) == getattr(DRAWN, f.name) for f in fields(SamplingParams))
    answers = [output.answer for output in drain(engine) if output.answer]
    assert all(len(answer.token_logprobs) == len(answer.output_ids) == 10 for answer in answers)
    assert all(len(one.top) == 3 for answer in answers for one in answer.token_logprobs)


def test_outputs_join_to_the_answer_of_their_choice(engine: Any, picture: Any) -> None:
    engine.submit(request(picture, want_logprobs=True))
    outputs = drain(engine)
    for answer in [output.answer for output in outputs if output.answer]:
        own = [output for output in outputs if output.index == answer.index]
        assert [i for output in own for i in output.new_ids] == answer.output_ids
        assert [one.logprob for output in own for one in output.logprobs] == answer.logprobs
        assert "".join(output.new_text for output in own) == answer.text


def test_an_abort_ends_all_choices(lively: Any, picture: Any) -> None:
    engine = lively.engine(max_batch_size=3)
    engine.submit(request(picture))
    engine.submit(Request("b", text="hello", sampling=SamplingParams(max_new_tokens=3, ignore_eos=True)))
    engine.step()
    assert (engine.counters()["running"], engine.counters()["waiting"]) == (3, 2)
    engine.abort("a")
    answers = [output.answer for output in drain(engine) if output.answer]
    assert [(a.request_id, a.index, a.finish_reason) for a in answers[:4]] == [("a", i, "abort") for i in range(4)]
    assert (answers[4].request_id, answers[4].finish_reason) == ("b", "length")
    engine.cache.check_idle()


def test_one_choice_that_fails_leaves_the_others(engine: Any, picture: Any, monkeypatch: Any) -> None:
    alone = [answer.output_ids for answer in engine.generate([request(picture)])]
    clean, steps = engine.runner.decoder.logits, 0

    def spoilt(hidden: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        logits, steps = clean(hidden), steps + 1
        if steps == 3:
            logits[2] = float("nan")
        return logits

    monkeypatch.setattr(engine.runner.decoder, "logits", spoilt)
    answers = engine.generate([request(picture)])
    assert [answer.finish_reason for answer in answers] == ["length", "length", "error", "length"]
    assert [a.output_ids for i, a in enumerate(answers) if i != 2] == [ids for i, ids in enumerate(alone) if i != 2]
    assert answers[2].output_ids == alone[2][:2]


def test_an_encoder_that_fails_fails_all_choices(engine: Any, picture: Any, monkeypatch: Any) -> None:
    clean = engine.vision.encoder
    monkeypatch.setattr(engine.vision, "encoder", lambda items: [[rows[:-1] for rows in i] for i in clean(items)])
    answers = engine.generate([request(picture)])
    assert [(answer.index, answer.finish_reason) for answer in answers] == [(i, "error") for i in range(4)]
    assert all(isinstance(answer.error, EncoderMismatch) for answer in answers)
