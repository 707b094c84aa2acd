from __future__ import annotations

from itertools import pairwise

import pytest

from harness.errors import UsageError
from harness.load.arrivals import Recorded
from harness.vocabulary import Vocabulary
from harness.workloads.load import MIXED_SIZES, WORKLOADS, Shape, make_sessions, replay_trace

SHAPE = Shape(words=6, images=3, output_tokens=4, turns=3)


@pytest.mark.parametrize("name", sorted(WORKLOADS.keys() - {"video"}))  # the stand-in has no video token
def test_sessions_are_the_same_from_the_same_seed_and_fit_their_placeholders(name: str, vocabulary: Vocabulary) -> None:
    made = make_sessions(name, 5, 1, vocabulary, SHAPE)
    assert made == make_sessions(name, 5, 1, vocabulary, SHAPE)
    assert made != make_sessions(name, 5, 2, vocabulary, SHAPE)
    prompts = [prompt for session in made for prompt in session]
    assert len({prompt.name for prompt in prompts}) == len(prompts)
    for prompt in prompts:
        assert prompt.ids.count(vocabulary.placeholder) == len(prompt.pictures)
        assert (prompt.max_new_tokens, prompt.ignore_eos) == (4, True)


def test_kinds_have_the_pictures_of_their_name(vocabulary: Vocabulary) -> None:
    def pictures(name: str) -> list[int]:
        return [len(session[0].pictures) for session in make_sessions(name, 3, 1, vocabulary, SHAPE)]

    assert set(pictures("text")) == {0}
    assert set(pictures("image")) == {1}
    assert set(pictures("multi-image")) == {3}
    mixed = make_sessions("mixed", 30, 1, vocabulary, SHAPE)
    assert {len(prompt.pictures) for [prompt] in mixed} == {0, 1, 2, 3}
    assert {(p.width, p.height) for [prompt] in mixed for p in prompt.pictures} == set(MIXED_SIZES)


def test_shared_prefixes_are_shared_with_their_picture(vocabulary: Vocabulary) -> None:
    [first], [second], *_ = make_sessions("shared-prefix", 3, 1, vocabulary, SHAPE)
    place = first.ids.index(vocabulary.placeholder)
    assert first.ids[: place + 2] == second.ids[: place + 2]
    assert first.ids != second.ids
    assert first.pictures == second.pictures


def test_a_next_turn_begins_with_the_ids_of_the_one_before(vocabulary: Vocabulary) -> None:
    [turns] = make_sessions("multi-turn", 1, 1, vocabulary, SHAPE)
    assert [len(turn.pictures) for turn in turns] == [1, 1, 2]
    for before, after in pairwise(turns):
        assert after.ids[: len(before.ids)] == before.ids
        assert after.pictures[: len(before.pictures)] == before.pictures


def test_a_trace_is_replayed_at_its_lengths(vocabulary: Vocabulary) -> None:
    trace = [Recorded(0.0, 60, 7, ((56, 28),)), Recorded(1.0, 33, 2)]
    [first], [second] = replay_trace(trace, 0, vocabulary)
    assert (len(first.ids), first.max_new_tokens, first.pictures[0].width) == (60, 7, 56)
    assert (len(second.ids), second.max_new_tokens, second.pictures) == (33, 2, ())
    end = vocabulary.encode("<|im_end|>\n<|im_start|>assistant\n")
    assert first.ids[-len(end) :] == tuple(end)


def test_an_unknown_kind_is_refused_with_the_list(vocabulary: Vocabulary) -> None:
    with pytest.raises(UsageError, match="--workload images: known are text, image"):
        make_sessions("images", 1, 0, vocabulary, SHAPE)
