"""Our own count is of what a target really sends, and a workload that it cannot send is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.errors import UsageError
from harness.jobs.load import Asked, load_job
from harness.load.arrivals import Recorded
from harness.load.counting import count_tokens
from harness.session import find_checkpoint
from harness.targets.openai import OpenAITarget
from harness.targets.reference import ReferenceTarget
from harness.vocabulary import Vocabulary
from harness.workloads.chat import markup_of
from harness.workloads.load import Shape, make_sessions, replay_trace

CHECKPOINT = find_checkpoint("sentinel-qwen2.5-vl")
MARKUP = markup_of(CHECKPOINT)


def test_images_count_as_their_tokens_by_ids_and_by_messages() -> None:
    vocabulary = Vocabulary(CHECKPOINT)
    [[prompt]] = replay_trace([Recorded(0.0, 40, 1, ((56, 84), (28, 28)))], 0, vocabulary, MARKUP)
    by_ids = count_tokens(CHECKPOINT, [prompt], ReferenceTarget())
    counted = by_ids.by_request[prompt.name]
    assert counted.image_tokens > 2
    assert counted.prompt_tokens == len(prompt.ids) - 2 + counted.image_tokens
    [[chat]] = make_sessions("multi-image", 1, 0, vocabulary, Shape(images=2), MARKUP)
    in_chat, in_ids = (
        count_tokens(CHECKPOINT, [chat], t).by_request[chat.name] for t in (OpenAITarget(), ReferenceTarget())
    )
    assert in_chat == in_ids  # the sentinel's template is what the workload writes
    longer = replace(chat, question=chat.question + " digit digit")
    more = count_tokens(CHECKPOINT, [longer], OpenAITarget()).by_request[chat.name]
    assert more.prompt_tokens > in_chat.prompt_tokens
    assert more.image_tokens == in_chat.image_tokens


def test_a_video_counts_as_its_tokens_and_goes_out_with_its_frames() -> None:
    [[prompt]] = make_sessions("video", 1, 0, Vocabulary(CHECKPOINT), Shape(images=2), MARKUP)
    counted = count_tokens(CHECKPOINT, [prompt], ReferenceTarget()).by_request[prompt.name]
    assert counted.image_tokens > 4
    assert counted.prompt_tokens == len(prompt.ids) - 1 + counted.image_tokens
    [sent] = ReferenceTarget().call(prompt, evidence=False, stream=True).body["video_data"]
    assert (len(sent["frames"]), sent["fps"]) == (4, 2.0)
    with pytest.raises(UsageError, match="--workload video: target url sends no videos"):
        load_job(Asked(workload="video"))().check_sendable(OpenAITarget())


@pytest.mark.parametrize("workload", ["multi-turn", "shared-prefix"])
def test_what_is_made_of_ids_is_not_sent_as_questions(workload: str) -> None:
    job = load_job(Asked(workload=workload))()
    with pytest.raises(UsageError, match=f"--workload {workload}: target url takes no token ids"):
        job.check_sendable(OpenAITarget())
    job.check_sendable(ReferenceTarget())
