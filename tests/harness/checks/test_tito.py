from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from observations import prompt

from harness.checks.tito import ChatReply, absent_unless_asked, streams_refuse, told_of_every_choice, turns_continue
from harness.observation import Observation

NATIVE = Observation("a", "on", 200, output_ids=(5, 6), prompt_ids=(1, 2, 2, 3))
META = {"output_token_logprobs": [[-0.1, 5, None], [-0.2, 6, None]], "completion_tokens": 2}
CHOICE = {"prompt_token_ids": [1, 2, 2, 3], "meta_info": META}


def reply(*choices: dict[str, Any], status: int = 200) -> ChatReply:
    return ChatReply("a", status, {"choices": list(choices)})


def test_every_choice_tells_what_ran_and_what_came() -> None:
    verdict = told_of_every_choice([prompt("a")], [NATIVE], [reply(CHOICE, CHOICE)], 2)
    assert verdict.status == "pass"


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ([CHOICE], "1 choices for n = 2"),
        ([CHOICE, {"prompt_token_ids": [1, 2, 2, 3]}], "choice 1: no meta_info"),
        ([CHOICE, CHOICE | {"prompt_token_ids": None}], "choice 1: no prompt_token_ids"),
        ([CHOICE | {"prompt_token_ids": [1, 2, 3, 3]}, CHOICE], "choice 0: 4 prompt ids, others than the 4 run"),
        (
            [CHOICE | {"prompt_token_ids": list(prompt("a").ids)}, CHOICE],
            "6 prompt ids, others than the 4 run natively: those sent, without the rows of 1 picture(s)",
        ),
        ([CHOICE, CHOICE | {"meta_info": META | {"completion_tokens": 3}}], "completion_tokens 3 for 2 ids"),
        ([CHOICE, CHOICE | {"meta_info": META | {"output_token_logprobs": []}}], "choice 1: output ids []"),
    ],
)
def test_what_a_choice_lacks_is_told(choices: list[dict[str, Any]], told: str) -> None:
    verdict = told_of_every_choice([prompt("a")], [NATIVE], [reply(*choices)], 2)
    assert verdict.status == "fail"
    assert told in verdict.message


def test_null_is_not_left_out() -> None:
    assert absent_unless_asked([reply({"index": 0})]).status == "pass"
    assert absent_unless_asked([reply({"meta_info": None})]).status == "fail"
    assert absent_unless_asked([reply(status=500)]).status == "not_exercised"


def test_a_stream_is_refused_in_words() -> None:
    words = {"error": {"message": "return_meta_info: set stream to false"}}
    refused = ChatReply("a", 400, words)
    assert streams_refuse([refused]).status == "pass"
    assert streams_refuse([replace(refused, status=500)]).status == "fail"
    assert streams_refuse([replace(refused, status=200)]).status == "fail"
    assert streams_refuse([replace(refused, body={"error": {"message": "no"}})]).status == "fail"


def test_a_turn_that_is_spelled_anew_is_found() -> None:
    assert turns_continue([("a", [1, 2, 3], [1, 2, 3, 4])]).status == "pass"
    assert turns_continue([("a", [1, 2, 3], [1, 9, 4])]).status == "fail"
    assert turns_continue([("a", [1, 2, 3], [1, 2])]).status == "fail"
