"""What is said of a prompt and its tokens over HTTP: what cannot be is told, and nothing else."""

from __future__ import annotations

import pytest

from harness.differential.bench import FORMED
from harness.differential.cases import make_cases
from harness.differential.models import find_models
from harness.differential.seen import Choice, Seen
from harness.differential.wire_bench import predict, rows_of
from harness.differential.wire_calls import calls_of, first_difference
from harness.differential.wire_prompts import wrong_among_likeliest

PLACE = [(5, -0.5), (6, -1.0), (7, -2.0), (8, -3.0)]


@pytest.mark.parametrize(
    ("token", "logprob", "place", "wrong"),
    [
        (5, -0.5, PLACE, False),
        (9, -3.5, PLACE, False),
        (9, -1.5, PLACE, True),
        (6, -1.5, PLACE, True),
        (5, -0.5, PLACE[::-1], True),
        (5, -0.5, PLACE[:3], True),
        (5, -0.5, [*PLACE[:3], PLACE[0]], True),
    ],
)
def test_likeliest_tokens(token: int, logprob: float, place: list[tuple[int, float]], wrong: bool) -> None:
    assert bool(list(wrong_among_likeliest(Choice([token], "", [logprob], likeliest=[place])))) == wrong
    assert list(wrong_among_likeliest(Choice([token], "", [logprob])))


def test_prompts_are_predicted_with_no_server() -> None:
    """Of every case that is not to be refused; a picture sent twice counts twice."""
    [model] = find_models(("random-qwen2.5-vl",))
    cases = make_cases(model, 3)
    made = predict(model.name, cases, [])
    assert made.keys() == {case.name for case in cases if case.group != "refusable"}
    assert all(one.usage["prompt_tokens"] == len(one.prompt_ids) for one in made.values())
    assert len(made["twice"].items) == 3
    assert rows_of(made["twice"]) == 3 * rows_of(made["one"])
    assert made["flowed"].items[0].grids != made["reflowed"].items[0].grids
    assert rows_of(made["tiny"]) == 1


def test_calls_are_no_longer_than_what_is_settled() -> None:
    [model] = find_models(("random-qwen2.5-vl",))
    cases = [case for case in make_cases(model, 0) if case.name in {*FORMED, "other", "option-drawn"}]
    answers = {case.name: Seen(200, choices=[Choice([1, 2], open=[{1}, {2}])]) for case in cases}
    answers["one"].choices[0].open = [{1}, {2, 3}]
    answers["three"].choices[0].open = answers["option-drawn"].choices[0].open = [{1, 3}, {2}]
    calls = calls_of(cases, answers, {"chat": 3, "dialogue": 0})
    assert set(calls) == {
        "several prompts", "text-1 with its ids", "one with its ids", "chat", "chat with ids", "chat with meta"
    }  # fmt: skip
    assert calls["several prompts"][1]["text"] == []
    assert calls["one with its ids"][1]["sampling_params"]["max_new_tokens"] == 1
    assert calls["chat"][1]["max_tokens"] == 3


def test_the_first_difference_between_bodies() -> None:
    body = {"a": [1.0, {"b": "x"}]}
    assert first_difference(body, {"a": [1.0001, {"b": "x"}]}) is None
    assert first_difference(body, {"a": [1.1, {"b": "x"}]}) == ".a[0] is 1.1, not 1.0"
    assert first_difference(body, body | {"c": None}) == ".c is None, not (nothing)"
    assert first_difference((200, body), (500, body)) == "[0] is 500, not 200"
