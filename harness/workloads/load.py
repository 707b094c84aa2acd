"""Sessions for a load, from a seed: text, one picture, several, mixed sizes, a video, a shared prefix, dialogues.

A session is the prompts of one dialogue; all kinds but ``multi-turn`` have one prompt a session. A dialogue's answers
are scripted: each next prompt begins with the ids of the one before, then a reply, then a further question. Every
answer is made to have exactly the asked number of tokens, where the target can be told to go on.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from PIL import Image

from harness.errors import UsageError
from harness.load.arrivals import Recorded
from harness.observation import Clip, Picture, Prompt
from harness.vocabulary import Vocabulary
from harness.workloads.chat import QWEN, Markup, Question, chat_prompt, chat_text

WORDS = ("read", "the", "digit", "in", "every", "row", "and", "tell", "what", "is", "seen", "there", "before", "this")
PLAIN_SIZE = (224, 168)
MIXED_SIZES = ((365, 211), (153, 174), (337, 337), (161, 184), (84, 28), (112, 448), (280, 280), (56, 504))
"""Near rounding edges, transposed, long and thin: those of the reports."""
SHARED_WORDS, TURNS = 120, 3
QWEN_VIDEO = "<|vision_start|><|video_pad|><|vision_end|>"


@dataclass(frozen=True)
class Shape:
    """How large the requests are: words of text a prompt, pictures a prompt, tokens an answer, turns a dialogue."""

    words: int = 16
    images: int = 3
    output_tokens: int = 16
    turns: int = TURNS


@dataclass(frozen=True)
class Maker:
    vocabulary: Vocabulary
    rng: random.Random
    shape: Shape
    markup: Markup = QWEN

    def prompt(self, name: str, images: Sequence[Image.Image], *, system: str | None = None) -> Prompt:
        asked = Question(images, self.text(self.shape.words), "")
        made = chat_prompt(self.vocabulary, name, asked, system, self.markup)
        return replace(made, max_new_tokens=self.shape.output_tokens, ignore_eos=True)

    @property
    def video_markup(self) -> str:
        """Raises :class:`UsageError` for a model whose template has no place for videos."""
        found = QWEN_VIDEO if self.markup.architecture is None else self.markup.architecture.video_markup
        if not found:
            raise UsageError("--workload video: this model's template has no place for videos")
        return found

    def text(self, words: int) -> str:
        return " ".join(self.rng.choice(WORDS) for _ in range(words))

    def image(self, size: tuple[int, int] = PLAIN_SIZE) -> Image.Image:
        """Coloured cells: compressed about as well as a photograph, and no two alike."""
        cells = Image.frombytes("RGB", (8, 8), self.rng.randbytes(8 * 8 * 3))
        return cells.resize(size, Image.Resampling.BICUBIC)


Sessions = list[list[Prompt]]


def text(maker: Maker, count: int) -> Sessions:
    return [[maker.prompt(f"text-{n:04d}", [])] for n in range(count)]


def image(maker: Maker, count: int) -> Sessions:
    return [[maker.prompt(f"image-{n:04d}", [maker.image()])] for n in range(count)]


def multi_image(maker: Maker, count: int) -> Sessions:
    return [[maker.prompt(f"images-{n:04d}", [maker.image() for _ in range(maker.shape.images)])] for n in range(count)]


def mixed(maker: Maker, count: int) -> Sessions:
    """None to ``images`` pictures of any of the sizes, texts of half to twice the length."""

    def one(number: int) -> Prompt:
        sizes = [maker.rng.choice(MIXED_SIZES) for _ in range(maker.rng.randint(0, maker.shape.images))]
        words = max(1, round(maker.shape.words * maker.rng.uniform(0.5, 2.0)))
        sized = replace(maker, shape=replace(maker.shape, words=words))
        return sized.prompt(f"mixed-{number:04d}", [maker.image(size) for size in sizes])

    return [[one(number)] for number in range(count)]


def video(maker: Maker, count: int) -> Sessions:
    """One clip of ``images`` times two frames, two a second, before the text."""
    markup = maker.video_markup

    def one(number: int) -> Prompt:
        frames = tuple(Picture.of(maker.image()) for _ in range(2 * maker.shape.images))
        made = maker.prompt(f"video-{number:04d}", [])
        text = chat_text(0, f"{markup}{made.question}", markup=maker.markup)
        return replace(made, ids=tuple(maker.vocabulary.encode(text)), clips=(Clip(frames, fps=2.0),))

    return [[one(number)] for number in range(count)]


def shared_prefix(maker: Maker, count: int) -> Sessions:
    """One long system text and one first picture for all; what is asked of them differs."""
    system, first = maker.text(SHARED_WORDS), maker.image()
    return [[maker.prompt(f"shared-{n:04d}", [first], system=system)] for n in range(count)]


def multi_turn(maker: Maker, count: int) -> Sessions:
    """A picture in the first turn, and one more in every second turn after it."""

    def dialogue(number: int) -> list[Prompt]:
        turns = [maker.prompt(f"dialogue-{number:04d}.0", [maker.image()])]
        for turn in range(1, maker.shape.turns):
            before = turns[-1]
            new = [maker.image()] if turn % 2 == 0 else []
            reply = maker.text(maker.shape.output_tokens // 2 or 1)
            said = f"{reply}{maker.markup.turn_end}\n" + chat_text(
                len(new), maker.text(maker.shape.words), markup=maker.markup
            )
            ids = (*before.ids, *maker.vocabulary.encode(said))
            pictures = (*before.pictures, *(Picture.of(one) for one in new))
            turns.append(replace(before, name=f"dialogue-{number:04d}.{turn}", ids=ids, pictures=pictures))
        return turns

    return [dialogue(number) for number in range(count)]


WORKLOADS: dict[str, Callable[[Maker, int], Sessions]] = {
    "text": text,
    "image": image,
    "multi-image": multi_image,
    "mixed": mixed,
    "video": video,
    "shared-prefix": shared_prefix,
    "multi-turn": multi_turn,
}
OF_IDS = ("shared-prefix", "multi-turn")
"""Those that are what they are by their ids alone: as single questions they would be something else."""


def make_sessions(
    name: str, count: int, seed: int, vocabulary: Vocabulary, shape: Shape, markup: Markup = QWEN
) -> Sessions:
    if name not in WORKLOADS:
        raise UsageError(f"--workload {name}: known are {', '.join(WORKLOADS)}")
    return WORKLOADS[name](Maker(vocabulary, random.Random(seed), shape, markup), count)


def replay_trace(trace: Sequence[Recorded], seed: int, vocabulary: Vocabulary, markup: Markup = QWEN) -> Sessions:
    """Prompts of the recorded lengths (in our tokens, placeholders not expanded), answers and pictures."""
    maker = Maker(vocabulary, random.Random(seed), Shape(words=1), markup)

    def one(number: int, recorded: Recorded) -> Prompt:
        made = maker.prompt(f"trace-{number:04d}", [maker.image(size) for size in recorded.images])
        word = vocabulary.encode(" digit")[0]
        place = len(made.ids) - len(vocabulary.encode(f"{markup.turn_end}\n<|im_start|>assistant\n"))
        filling = (word,) * max(0, recorded.prompt_tokens - len(made.ids))
        ids = (*made.ids[:place], *filling, *made.ids[place:])
        return replace(made, ids=ids, max_new_tokens=recorded.output_tokens)

    return [[one(number, recorded)] for number, recorded in enumerate(trace)]
