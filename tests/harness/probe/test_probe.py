"""``assay probe`` against servers that lack things, and servers that are wrong in one thing each."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from standin_server import Handler, standing_in

from harness.cli import main
from harness.probe import card, run
from harness.probe.asking import IdsWay
from harness.probe.bench import Bench
from harness.probe.line import Answer, address
from harness.probe.run import GROUPS, Check, Report, Wishes, probe
from harness.progress import Silent


def probed(url: str, **wishes: Any) -> Report:
    return probe(Wishes(url, seed=3, **wishes), Silent())


def statuses(report: Report) -> dict[str, str]:
    return {one.verdict.check: one.verdict.status for one in report.filed}


def test_a_server_without_faults_has_no_red_line() -> None:
    with standing_in() as url:
        report = probed(url)
    found = statuses(report)
    assert "fail" not in found.values(), report.filed
    assert "cannot_tell" not in found.values(), report.filed
    assert sum(status == "pass" for status in found.values()) >= 22


@pytest.mark.parametrize(
    ("flag", "checks"),
    [
        ({"blind": True}, {"the picture is looked at", "each picture in its place", "no two pictures alike"}),
        ({"sorts_images": True}, {"order matters"}),
        ({"keys_of_first_bytes": True}, {"pictures with the same beginning"}),
        ({"keys_without_shape": True}, {"other proportions"}),
        ({"remembers_first_image": True}, {"going on as asked at once"}),
        ({"refuses_long": True}, {"an image beside a long text"}),
        ({"keeps_file_sideways": True}, {"turned files"}),
        ({"extra_per_pair": 1}, {"images add up"}),
        ({"stream_loses_last": True}, {"streamed as whole", "stop strings"}),
        ({"leaks_stop": True}, {"stop strings"}),
        ({"sums_above_one": True}, {"probabilities"}),
        ({"forgets_lines": True}, {"earlier turns count"}),
        ({"ignores_seed": True}, {"seeds"}),
        ({"null_finish": True}, {"no empty fields"}),
        ({"one_more_token": True}, {"max_tokens is exact"}),
        ({"fails_on_bad_image": True}, {"malformed requests"}),
        ({"noisy_in_crowds": True}, {"alone and in a crowd"}),
        ({"choices_differ": True}, {"several choices"}),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_each_fault_turns_its_check_red(flag: dict[str, Any], checks: set[str]) -> None:
    with standing_in(**flag) as url:
        found = statuses(probed(url))
    assert checks <= {check for check, status in found.items() if status == "fail"}, found


@pytest.mark.parametrize(
    ("flag", "check", "why"),
    [
        ({"images": False}, "order matters", "lacks images: 400: images are not supported"),
        ({"logprobs": False}, "probabilities", "lacks log-probabilities: accepted, but not in the answer"),
        (
            {"choices": False, "drawn_choices": False},
            "several choices",
            "lacks several choices: 400: n: one choice only",
        ),
        ({"streams": False}, "streamed as whole", "lacks streams: 400: not taken"),
        ({"usage": False}, "same size, same count", "no usage.prompt_tokens"),
    ],
)
def test_what_is_lacking_is_not_exercised_and_said(flag: dict[str, Any], check: str, why: str) -> None:
    with standing_in(**flag) as url:
        report = probed(url)
    [verdict] = [one.verdict for one in report.filed if one.verdict.check == check]
    assert verdict.status == "not_exercised"
    assert why in verdict.message
    assert "fail" not in statuses(report).values()


def test_drawn_choices_are_judged_where_greedy_ones_are_refused() -> None:
    with standing_in(choices=False) as url:
        report = probed(url)
    [verdict] = [one.verdict for one in report.filed if one.verdict.check == "several choices"]
    assert (verdict.status, verdict.message) == ("pass", "three drawn choices, counted as made, the prompt once")


def test_a_server_that_is_something_else_is_told_from_one(capsys: pytest.CaptureFixture[str]) -> None:
    with standing_in(is_openai=False) as url:
        assert main(["probe", url, "--quiet"]) == 2
    assert "answers, but not as an OpenAI-compatible server (GET /v1/models 404, POST" in " ".join(
        capsys.readouterr().err.split()
    )


def test_nobody_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", "http://127.0.0.1:9", "--quiet"]) == 2
    assert "http://127.0.0.1:9: no connection is taken" in capsys.readouterr().err


def test_a_key_is_asked_for_and_never_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("A_KEY", "s3cret-key")
    out = [str(tmp_path / name) for name in ("card.html", "card.md", "card.svg")]
    files = ["--html", out[0], "--markdown", out[1], "--svg", out[2]]
    with standing_in(key="s3cret-key") as url:
        assert main(["probe", url, "--quiet"]) == 2
        assert "--api-key-env" in capsys.readouterr().err
        assert main(["probe", url, "--api-key-env", "A_KEY", *files, "--no-hostile", "--quiet"]) == 0
    shown = [Path(path).read_text() for path in out] + [capsys.readouterr().out]
    assert ElementTree.fromstring(shown[2]).tag.endswith("svg")
    for text in shown:
        assert "stand-in" in text
        for secret in ("s3cret-key", "127.0.0.1", "folder/of"):
            assert secret not in text


def test_json_has_the_evidence(capsys: pytest.CaptureFixture[str]) -> None:
    with standing_in(extra_per_pair=1) as url:
        assert main(["probe", url, "--json", "--quiet", "--no-hostile"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["exit_code"] == 1
    assert [one["check"] for one in told["verdicts"] if one["status"] == "fail"] == ["images add up"]


def test_limits_end_it_with_what_was_seen() -> None:
    with standing_in() as url:
        report = probed(url, requests=40)
    assert report.requests == 40
    assert report.ended is not None
    assert "--requests" in report.ended
    assert statuses(report)["same size, same count"] == "pass"
    assert statuses(report)["at the end as at first"] == "not_exercised"


@pytest.mark.parametrize(
    ("flags", "wishes", "status", "why"),
    [
        ({}, {"requests": 3}, "not_exercised", "3 requests are used up (--requests)"),
        ({}, {"requests": 10}, "not_exercised", "10 requests are used up (--requests)"),
        ({"hangs": True}, {"time_limit": 1.0}, "not_exercised", "the time limit is reached (--time-limit)"),
        ({"dies_on_image": True}, {}, "fail", "the server went away: no connection is taken"),
    ],
)
def test_what_ends_it_before_the_first_check_ends_it_with_a_card(
    flags: dict[str, Any], wishes: dict[str, Any], status: str, why: str
) -> None:
    with standing_in(**flags) as url:
        report = probed(url, **wishes)
    first, *others = [one.verdict for one in report.filed]
    assert first.status == status
    assert why in first.message
    assert {verdict.status for verdict in others} == {"not_exercised"}
    assert report.ended is not None
    assert "engine" in card.facts(report)


@pytest.mark.parametrize(
    ("flag", "check"), [({"odd_events": True}, "streamed as whole"), ({"null_choices": True}, "several choices")]
)
def test_an_answer_of_another_form_is_a_failure_of_its_check_alone(flag: dict[str, Any], check: str) -> None:
    with standing_in(**flag) as url:
        report = probed(url, hostile=False)
    failed = {one.verdict.check: one.verdict.message for one in report.filed if one.verdict.status == "fail"}
    assert "an answer that cannot be read" in failed[check]
    assert statuses(report)["the same again"] == "pass"


def test_pages_of_another_form_tell_nothing() -> None:
    with standing_in(odd_pages=True) as url:
        speaks = probed(url, requests=30).speaks
    assert (speaks.model, speaks.engine) == ("default", "unknown engine")


def test_a_check_that_breaks_is_told_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(bench: Bench) -> str:
        raise RuntimeError("of all things")

    checks = {"first": (Check("breaks", broken, 1, "s"), Check("holds", lambda bench: "well", 1, "s"))}
    monkeypatch.setattr(run, "GROUPS", checks)
    with standing_in() as url:
        broke, held = probed(url).filed
    assert (broke.verdict.status, held.verdict.status) == ("fail", "pass")
    assert broke.verdict.message == "what came could not be judged: RuntimeError: of all things"


def test_null_is_nothing_given() -> None:
    answer = Answer(200, {"text": "a", "meta_info": {"prompt_tokens": 3, "output_token_logprobs": None}})
    reply = IdsWay("/generate", pictures=True).read(answer)
    assert (reply.ok, reply.first.ids, reply.first.logprobs) == (True, [], [])


@pytest.mark.parametrize("option", ["--html", "--markdown", "--svg"])
def test_where_nothing_can_be_written_nothing_is_asked(
    option: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with standing_in() as url, pytest.raises(SystemExit, match="2"):
        main(["probe", url, "--quiet", option, str(tmp_path / "nowhere" / "card")])
    assert Handler.posts == 0
    assert f"argument {option}: {tmp_path / 'nowhere' / 'card'}: there is no folder" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_the_card_is_shown_even_where_it_cannot_be_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with standing_in() as url:
        assert main(["probe", url, "--quiet", "--requests", "30", "--markdown", "/dev/full"]) == 2
    told = capsys.readouterr()
    assert "texts are counted" in told.out
    assert "/dev/full cannot be written: No space left on device" in " ".join(told.err.split())


def test_a_server_that_hangs_is_given_up(capsys: pytest.CaptureFixture[str]) -> None:
    with standing_in(hangs=True) as url:
        assert main(["probe", url, "--request-timeout", "0.3", "--quiet"]) == 2
    assert "no answer within" in capsys.readouterr().err


def test_a_server_that_dies_is_a_failure_of_the_check_that_met_it() -> None:
    with standing_in(dies_after=60) as url:
        report = probed(url)
    *_, failed = [one.verdict for one in report.filed if one.verdict.status == "fail"]
    assert "the server went away" in failed.message
    assert url.removeprefix("http://") not in failed.message
    assert report.filed[-1].verdict.status == "not_exercised"


def test_without_a_model_the_plain_install_is_enough() -> None:
    """`pipx run` takes the base dependencies alone: of the extra `engine` nothing may be imported."""
    root = Path(__file__).parents[3]
    extra = tomllib.loads((root / "pyproject.toml").read_text())["project"]["optional-dependencies"]["engine"]
    names = {re.split(r"[><=\[]", line)[0].replace("-", "_") for line in extra} - {"pytest_benchmark"}
    with standing_in() as url:
        code = (
            "import sys; from harness.cli import main; main(['probe', sys.argv[1], '--quiet', '--requests', '60']);"
            f"sys.exit(' '.join({names!r} & set(sys.modules)) or 0)"
        )
        done = subprocess.run([sys.executable, "-c", code, url], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_what_the_plain_install_lacks_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    code = "import sys; sys.modules['torch'] = None; from harness.cli import main; sys.exit(main(sys.argv[1:]))"
    asked = [sys.executable, "-c", code, "probe", "http://127.0.0.1:9", "--model", "sentinel-qwen2.5-vl"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stderr
    assert "pip install 'vlm-assay[engine]'" in done.stderr


@pytest.mark.parametrize("status", [500, 501])
def test_to_fail_at_images_is_not_to_lack_them(status: int) -> None:
    with standing_in(images=False, images_status=status) as url:
        found = statuses(probed(url))
    assert found["the picture is looked at"] == "fail"


def test_endpoints_may_be_copied_along() -> None:
    for path in ("", "/", "/v1", "/v1/", "/v1/chat/completions", "/v1/models"):
        assert address(f"http://box:8000{path}") == "http://box:8000"
    assert address("box:8000/prefix/v1") == "http://box:8000/prefix"


def test_every_check_has_a_name_of_its_own() -> None:
    names = [check.name for checks in GROUPS.values() for check in checks]
    assert len(names) == len(set(names))
