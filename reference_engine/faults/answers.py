"""Faults between the token that was sampled and the answer that is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from reference_engine.detokenizer import Detokenizer, TextStream
from reference_engine.faults.catalogue import Fault
from reference_engine.live_request import LiveRequest
from reference_engine.live_request import open_stream as clean_stream
from reference_engine.request import StepOutput, TokenLogprob
from reference_engine.sampling_params import SamplingParams

SAME_EVERYWHERE = "7: len(ids) == len(logprobs) == usage.completion_tokens; the stop token is counted everywhere"
STREAM = "7: concatenated stream == non-stream, field by field"
CONTEXT = 5
Tokens = tuple[list[int], list[TokenLogprob]]


def encode_the_text(live: LiveRequest, codec: Any) -> Tokens:
    """Ids are made again from the text; log-probabilities are cut, or filled up with zeros."""
    if codec.tokenizer is None:
        return live.output_ids, live.logprobs
    ids = codec.encode("".join(live.text))
    return ids, [*live.logprobs, *[TokenLogprob(0.0)] * len(ids)][: len(ids)]


def with_context(live: LiveRequest, codec: Any) -> Tokens:
    """The window that was decoded is returned, which begins in the prompt."""
    return live.prompt.ids[-CONTEXT:] + live.output_ids, live.logprobs


def without_end(live: LiveRequest, codec: Any) -> Tokens:
    """What is left out of the text is left out of the ids."""
    ids = live.output_ids
    return ids[:-1] if ids and ids[-1] in live.sampling.end_ids else ids, live.logprobs


def ids_with_text(outputs: list[StepOutput]) -> list[StepOutput]:
    """A piece of a stream without text loses its ids."""
    for output in outputs:
        if not output.new_text:
            output.new_ids, output.logprobs = [], []
    return outputs


def one_piece_a_tick(outputs: list[StepOutput]) -> list[StepOutput]:
    """Of the pieces that come in one step, the second is lost."""
    for output in outputs[1:2]:
        if output.answer is None:
            output.new_text = ""
    return outputs


def opened_with_the_prompt(text: Detokenizer, params: SamplingParams, prompt_ids: Sequence[int]) -> TextStream:
    """The decoder is primed with the prompt's end, and what it still holds comes out with the answer."""
    for token in prompt_ids[-CONTEXT:]:
        text.push(token)
    return clean_stream(text, params, prompt_ids)


class Eager(TextStream):
    """Text goes out before it is looked at for a stop string."""

    def _undecided(self) -> int:
        return 0


def without_waiting(text: Detokenizer, params: SamplingParams, prompt_ids: Sequence[int]) -> TextStream:
    return Eager(text, params.stop, keep_stop=params.no_stop_trim)


FAULTS = (
    Fault(
        "F3-08", "rllm#816", "ids are made from the text, log-probabilities are those of other ids", SAME_EVERYWHERE,
        {"answer_tokens": encode_the_text}, "an answer is not what its text is tokenized to",
    ),
    Fault(
        "F3-15", "sglang#17240", "an answer's ids begin with those of the prompt's end", SAME_EVERYWHERE,
        {"answer_tokens": with_context},
    ),
    Fault(
        "F3-16", "dynamo#14302", "the token that ended an answer is missing from its ids", SAME_EVERYWHERE,
        {"answer_tokens": without_end}, "an answer ends by a token",
    ),
    Fault(
        "F3-19", "vllm#29074", "pieces of a stream without text have no ids", STREAM, {"step_outputs": ids_with_text},
        "a token adds no text",
    ),
    Fault(
        "F6-05", "vllm#48853", "an answer begins with what the prompt's last bytes left unfinished",
        "7: concatenated stream never contains prompt text", {"open_stream": opened_with_the_prompt},
        "a prompt ends inside a character",
    ),
    Fault(
        "F6-07", "sglang#11462", "the beginning of a stop string leaks, and the rest is not known for one", STREAM,
        {"open_stream": without_waiting}, "a stop string takes several tokens", analogue=True,
    ),
    Fault(
        "F6-12", "vllm#30099", "of the pieces that come in one step, the second is lost", STREAM,
        {"step_outputs": one_piece_a_tick}, "several requests stream", analogue=True,
    ),
)  # fmt: skip
