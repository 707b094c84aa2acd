from __future__ import annotations

import json
from pathlib import Path

import pytest
from standin_workload import solid

from harness.errors import UsageError
from harness.observation import Picture, Prompt
from harness.records import Recorder, load_record, public_arguments, public_environment


def test_finish_replaces_the_partial_file_by_the_whole_record(tmp_path: Path) -> None:
    with Recorder(tmp_path) as recorder:
        recorder.event("run", seed=7)
        assert recorder.partial.exists()
        assert not recorder.path.exists()
        path = recorder.finish(1)
    assert sorted(tmp_path.iterdir()) == [path]
    record = load_record(path)
    assert record["complete"]
    assert record["exit_code"] == 1
    assert [event["event"] for event in record["events"]] == ["run", "end"]


def test_what_was_written_before_a_crash_can_be_read(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path)
    recorder.event("run", seed=7)
    recorder.event("answer", text="12")
    with recorder.partial.open("a") as file:
        file.write('{"event": "answ')
    record = load_record(recorder.partial)
    assert not record["complete"]
    assert [event.get("text") for event in record["events"]] == [None, "12"]
    recorder.__exit__()


@pytest.mark.parametrize("character", ["\x85", "\u2028", "\u2029"])
def test_what_text_calls_a_line_end_is_no_end_of_an_event(tmp_path: Path, character: str) -> None:
    with Recorder(tmp_path) as recorder:
        recorder.event("answer", text=f"1{character}2")
        before = load_record(recorder.partial)["events"]
        assert [event["text"] for event in before] == [f"1{character}2"]
        assert load_record(recorder.finish(0))["events"][:-1] == before


def test_a_character_that_a_crash_cut_short_costs_its_own_event_alone(tmp_path: Path) -> None:
    path = tmp_path / "run.partial.jsonl"
    path.write_bytes('{"event": "run"}\n{"event": "answer", "text": "é'.encode()[:-1])
    assert load_record(path)["events"] == [{"event": "run"}]


def test_pictures_are_kept_small_and_once(tmp_path: Path) -> None:
    picture = Picture.of(solid(3, 20, 20))
    prompt = Prompt("a", (1, 2), (picture, picture), "read", "33")
    with Recorder(tmp_path) as recorder:
        recorder.prompt("job", prompt)
        recorder.prompt("job", prompt)
        events = load_record(recorder.finish(0))["events"]
    pictures = [event for event in events if event["event"] == "picture"]
    assert [event["digest"] for event in pictures] == [picture.digest]
    assert len(pictures[0]["thumbnail"]) < 1000
    prompts = [event for event in events if event["event"] == "prompt"]
    assert prompts[0]["pictures"] == [picture.digest] * 2
    assert "png" not in json.dumps(prompts)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"events": []}', '{"events": [], "schema_version": 99}'])
def test_other_files_are_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"other\.json"):
        load_record(path)


def test_secrets_stay_out() -> None:
    environment = {"HF_TOKEN": "hf_x", "HF_HOME": "/h", "OMP_NUM_THREADS": "1", "HOME": "/me", "ASSAY_API_KEY": "k"}
    environment["HF_ENDPOINT"] = "https://me:word@hub.example"
    shown = public_environment(environment)
    assert shown == {"HF_ENDPOINT": "https://hub.example", "HF_HOME": "/h", "OMP_NUM_THREADS": "1"}
    argv = ["serve", "--api-key", "abc", "--hf-token=abc", "--max-prompt-tokens", "100", "http://me:abc@host"]
    assert public_arguments(argv) == [
        *("serve", "--api-key", "(removed)", "--hf-token=(removed)", "--max-prompt-tokens", "100", "http://host")
    ]
