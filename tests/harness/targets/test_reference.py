from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.observation import Prompt, RowMismatch
from harness.targets import find_target
from harness.targets.base import Launch
from harness.targets.reference import ReferenceTarget

PROMPT = Prompt("p", (1, 2), (), "read", "7")


def test_launch_line_spells_toggles_options_and_fault() -> None:
    launch = Launch("m", {"vit_batching": "per_item", "chunked_prefill": "7"}, {"slice_rows": "2"}, "F1-01")
    argv = " ".join(ReferenceTarget().launch_line(launch).argv)
    assert "--model m --host 127.0.0.1 --port 0 --vit-batching per_item --chunked-prefill 7" in argv
    assert argv.endswith("--slice-rows 2 --plant F1-01 --allow-plant")


def test_a_toggle_that_the_target_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="does not support toggle warp"):
        ReferenceTarget().spell({"warp": "on"})


def test_the_announced_address_is_found_in_the_log() -> None:
    target = ReferenceTarget()
    assert (
        target.ready_url("loading\nassay-engine ready on http://127.0.0.1:4242 (model x)\n") == "http://127.0.0.1:4242"
    )
    assert target.ready_url("loading\n") is None


def test_an_answer_with_evidence_is_read() -> None:
    item = {"item": 0, "spans": [[3, 6]], "placeholders": [4], "encoder_rows": [4], "rows_digest": "ab"}
    evidence = {"prompt_ids": [1, 9, 9], "items": [item], "toggles": {"x": {"acted": True}}, "encoder_batch": 3}
    meta = {"prompt_tokens": 3, "completion_tokens": 1, "finish_reason": {"type": "stop"}, "evidence": evidence}
    seen = ReferenceTarget().read(PROMPT, "on", 200, {"text": "7", "output_ids": [5], "meta_info": meta})
    assert seen.ok
    assert seen.right(PROMPT)
    assert seen.items[0].spans == ((3, 6),)
    assert (seen.prompt_ids, seen.encoder_batch, seen.finish) == ((1, 9, 9), 3, "stop")


def test_an_encoder_mismatch_is_read_from_the_engines_own_error() -> None:
    from reference_engine.errors import EncoderMismatch

    error = EncoderMismatch(1, [(4, 9), (12, 17)], 12, 6)
    seen = ReferenceTarget().read(
        PROMPT, "on", 500, {"error": {"message": str(error), "type": "engine_error", "code": 500}}
    )
    assert not seen.ok
    assert seen.mismatch == RowMismatch(1, ((4, 9), (12, 17)), 12, 6)


@pytest.mark.parametrize("body", ["Internal Server Error", {"detail": "no"}, {"error": {"message": ""}}, []])
def test_any_other_body_is_an_error_not_a_crash(body: object) -> None:
    seen = ReferenceTarget().read(PROMPT, "on", 500, body)
    assert not seen.ok
    assert seen.mismatch is None
    assert seen.error


def test_targets_are_found_by_name_or_class() -> None:
    assert find_target("reference").name == "reference"
    assert find_target("harness.targets.reference:ReferenceTarget").name == "reference"
    with pytest.raises(UsageError, match="unknown target 'refrence'; known: reference"):
        find_target("refrence")
    with pytest.raises(UsageError, match="cannot be loaded"):
        find_target("nowhere:Target")
    with pytest.raises(UsageError, match="not a subclass"):
        find_target("harness.verdict:Verdict")
