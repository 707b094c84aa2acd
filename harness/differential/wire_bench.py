"""What a trusted server answered, and a server that is judged by it. Both are black boxes: no evidence is asked for.

What must be run for a prompt is not taken from any server: it is predicted from the checkpoint's configuration,
processor and tokenizer, and from the sizes of what was sent (:mod:`reference_engine.predict`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from PIL import Image, ImageOps

from harness.differential.bench import SCORED, Oracle, starts
from harness.differential.canary import Canary
from harness.differential.cases import Case, make_tiles
from harness.differential.forms import Form
from harness.differential.open_picks import open_greedily
from harness.differential.seen import Seen, difference, leave_open
from harness.differential.wire import Wire
from harness.differential.wire_calls import LIKELIEST, calls_of, settled_in_chats, told
from reference_engine import EngineConfig
from reference_engine.predict import Prediction, Predictor

Finds = Iterator[str]
TILED_ROWS = 1200


@dataclass(frozen=True)
class WireOracle:
    """What a server that is trusted answered, and what must be run whoever answers."""

    cases: tuple[Case, ...]
    forms: tuple[Form, ...]
    poisoned: tuple[Case, ...]
    answers: dict[str, Seen]
    prompts: dict[str, Prediction]
    """Of cases that are not to be refused."""
    scores: dict[tuple[str, int], Seen]
    """Cases with the log-probabilities of their prompt from a position on."""
    settled: dict[str, int]
    """Of each chat, the tokens that any engine must pick."""
    calls: dict[str, tuple[int, Any]]
    """Bodies of other endpoints and shapes, by name."""

    @classmethod
    def of(cls, wire: Wire, inside: Oracle) -> WireOracle:
        """``inside`` is the same engine in this process, which knows what is open (see :mod:`open_picks`)."""
        known = tuple(inside.cases)
        answers = {case.name: leave_open(wire.ask(case), inside.plain[case.name]) for case in known}
        for form in inside.forms:
            as_in = inside.plain[form.like or form.case.name]
            answers[form.case.name] = leave_open(wire.ask(form.case), as_in)
        scores = {
            (case.name, start): leave_open(wire.ask(case, logprob_start_len=start), inside.plain[case.name])
            for case in known
            if case.name in SCORED
            for start in starts(answers[case.name].prompt_tokens)
        }
        prompts = predict(inside.model.name, known, inside.forms)
        rows = rows_of(prompts["tiny"]) if "tiny" in prompts else 1
        tiles = make_tiles(inside.model, inside.seed, TILED_ROWS, rows)
        answers |= {case.name: _ask_greedily(wire, case) for case in [*tiles, *inside.poisoned]}
        settled = settled_in_chats(wire, known)
        calls = {name: told(wire.post(*call)) for name, call in calls_of(known, answers, settled).items()}
        return cls(
            (*known, *tiles), tuple(inside.forms), tuple(inside.poisoned), answers, prompts, scores, settled, calls,
        )  # fmt: skip

    @cached_property
    def largest(self) -> tuple[int, int]:
        """Most tokens of any prompt, and most encoder rows of one."""
        predictions = self.prompts.values()
        return max(len(one.prompt_ids) for one in predictions), max(map(rows_of, predictions))


def _ask_greedily(wire: Wire, case: Case) -> Seen:
    seen = wire.ask(case, top_logprobs_num=LIKELIEST)
    for choice in seen.choices:
        choice.open = open_greedily(choice.likeliest)
    return seen


def rows_of(prediction: Prediction) -> int:
    """Encoder rows that all of a prompt's items take."""
    return sum(sum(item.placeholders) for item in prediction.items)


def predict(model: str, cases: Iterable[Case], forms: Iterable[Form]) -> dict[str, Prediction]:
    """Of every prompt that is not to be refused, by name. A form that has another case's answer has its ids too."""
    predictor = Predictor(EngineConfig(model=model))
    made = {case.name: _predict(predictor, case) for case in cases if case.group != "refusable"}
    for form in forms:
        made[form.case.name] = made[form.like] if form.like else _predict(predictor, form.case)
    return made


def _predict(predictor: Predictor, case: Case) -> Prediction:
    media = case.make()
    return predictor.predict(
        case.request(images=[], videos=[]),
        [_upright(image) for image in media.get("images", ())],
        [video.size for video in media.get("videos", ())],
    )


def _upright(image: Image.Image) -> tuple[int, int]:
    return ImageOps.exif_transpose(image).size


@dataclass
class WireBench:
    wire: Wire
    oracle: WireOracle
    canary: Canary
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Those that the server was started with."""

    def cases(self, group: str = "plain") -> list[Case]:
        return [case for case in self.oracle.cases if case.group == group]

    @cached_property
    def first(self) -> dict[str, Seen]:
        """Each plain case by itself, for the first time, with the prompt's ids as run."""
        asked = {case.name: self.wire.ask(case, return_prompt_token_ids=True) for case in self.cases()}
        return {name: leave_open(seen, self.oracle.answers[name]) for name, seen in asked.items()}

    def expected(self, name: str) -> Seen:
        """The oracle's answer; a refusal where the images take more rows than this server may hold."""
        prediction, most = self.oracle.prompts.get(name), self.settings.get("encoder_rows")
        if prediction is not None and most is not None and rows_of(prediction) > most:
            return Seen(413)
        return self.oracle.answers[name]

    def compare(self, got: Mapping[str, Seen], how: str) -> Finds:
        """With the oracle."""
        yield from differences({name: self.expected(name) for name in got}, got, how)


def differences(expected: Mapping[str, Seen], got: Mapping[str, Seen], how: str) -> Finds:
    for name, seen in got.items():
        found = difference(expected[name], seen)
        if found is not None:
            yield f"{name} {how}: {found}"


@dataclass(frozen=True)
class WireCheck:
    name: str
    invariants: tuple[int, ...]
    find: Callable[[WireBench], Iterable[str]]
