from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.errors import UsageError
from harness.tasks.find import find_task
from harness.tasks.jsonl import JsonlTask

LINE = {"image": "a.png", "question": "what?", "answer": "7"}


def write(folder: Path, *lines: dict[str, Any] | str) -> Path:
    Image.new("RGB", (28, 28)).save(folder / "a.png")
    path = folder / "mine.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_a_line_becomes_a_sample(tmp_path: Path) -> None:
    path = write(tmp_path, LINE | {"scorer": "number", "max_new_tokens": 5, "id": "x"}, "", LINE | {"images": []})
    first, second = JsonlTask(path).samples(None, 0)
    assert (first.name, first.question, first.max_new_tokens, len(first.images)) == ("x", "what?", 5, 1)
    assert first.right("it is 7.0")
    assert not second.right("it is 7.0")
    assert (second.name, len(second.images)) == ("mine-0003", 0)


def test_a_question_may_hold_what_text_calls_a_line_end(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes(json.dumps({"question": "one\u2028two\x85", "answer": "7"}, ensure_ascii=False).encode() + b"\r\n")
    [sample] = JsonlTask(path).samples(None, 0)
    assert sample.question == "one\u2028two\x85"


def test_what_is_not_utf8_is_refused_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_bytes('{"question": "é", "answer": "7"}'.encode("latin-1"))
    with pytest.raises(UsageError, match=r"mine\.jsonl:1: .*utf-8"):
        JsonlTask(path).samples(None, 0)


def test_a_count_draws_the_same_lines_for_the_same_seed(tmp_path: Path) -> None:
    path = write(tmp_path, *[LINE | {"id": str(i)} for i in range(20)])
    names = [[sample.name for sample in JsonlTask(path).samples(5, seed)] for seed in (1, 1, 2)]
    assert names[0] == names[1] != names[2]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "mine.jsonl:1: "),
        ("[]", "is no JSON object"),
        ({"question": "what?"}, "answer is missing"),
        (LINE | {"anwser": 1}, "unknown key 'anwser'"),
        (LINE | {"image": "b.png"}, "b.png"),
        (LINE | {"choices": ["a", "b"], "answer": "c"}, "neither one of the choices"),
        (LINE | {"scorer": "bleu"}, "unknown scorer 'bleu'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: Any, message: str) -> None:
    with pytest.raises(UsageError, match=r"mine\.jsonl:1") as caught:
        JsonlTask(write(tmp_path, line)).samples(None, 0)
    assert message in str(caught.value)


def test_an_id_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="id 'x' is there twice"):
        JsonlTask(write(tmp_path, LINE | {"id": "x"}, LINE | {"id": "x"})).samples(None, 0)


@pytest.mark.parametrize("named", ["nothing", "a.jsonl", "a.yaml", "other:task"])
def test_what_is_no_task_is_refused_by_name(named: str) -> None:
    with pytest.raises(UsageError, match="task: "):
        find_task(named)
