"""Requests of every kind that an engine takes, and some that it must refuse; made from a seed.

A case can be asked any number of times: each time it makes a request of its own.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from PIL import Image

from harness.differential.models import EDGES, SMALL, Model, Size
from reference_engine import Request, SamplingParams
from reference_engine.request import Video

NEW_TOKENS = 5
ALIKE = 72
"""Pictures enough that two of them have the same eight bits of any hash."""
WORDS = (
    "Describe", "the", "digit", "of", "image !", "row", "naïve", "图像", "🙂", "<b>", "12,345 ,", "\n\n", "every",
    "last",
)  # fmt: skip
LEADING_BYTE = 160
CELL = 28
"""Pixels of a side that become one token in several families."""
TILES, TILES_A_PROMPT = 720, 30
"""Pictures enough that two of them have the same sixteen bits of any hash, nearly always."""
Make = Callable[[], dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """``make`` gives the fields of a request anew; ``group`` says which checks it is for."""

    name: str
    make: Make
    sampling: SamplingParams = field(default_factory=lambda: SamplingParams(max_new_tokens=NEW_TOKENS, ignore_eos=True))
    group: str = "plain"

    def request(self, name: str | None = None, **more: Any) -> Request:
        """Raises what the request's own validation raises."""
        return Request(name or self.name, **self._fields() | more)

    def _fields(self) -> dict[str, Any]:
        return {"sampling": self.sampling, "want_logprobs": True} | self.make()


def make_cases(model: Model, seed: int) -> list[Case]:
    """All cases of a model, the plain ones first."""
    rng = np.random.default_rng(seed)
    if model.image is None:
        return [*_texts(rng), *_options(rng, []), *_refused_texts(), _picture_for_text(rng)]
    pictures = _pictures(rng, model.image)
    return [
        *_texts(rng), *pictures, *_videos(rng, model), *_modes(rng, model.image), *_options(rng, pictures),
        *_alike(rng, model.image), *_small(rng, model.image), *_refused_texts(), *_refused_pictures(rng, model.image),
    ]  # fmt: skip


def words(rng: np.random.Generator, least: int = 2) -> str:
    return " ".join(WORDS[int(i)] for i in rng.integers(len(WORDS), size=int(rng.integers(least, least + 6))))


def noise(rng: np.random.Generator, size: Size) -> Image.Image:
    """Blocks of random colours: another picture every time, other rows within it."""
    width, height = size
    cells = rng.integers(0, 256, (-(-height // 14), -(-width // 14), 3), dtype=np.uint8)
    return Image.fromarray(cells.repeat(14, 0).repeat(14, 1)[:height, :width])


def _fixed(**fields: Any) -> Make:
    return lambda: {name: list(value) if isinstance(value, list) else value for name, value in fields.items()}


def _texts(rng: np.random.Generator) -> list[Case]:
    """Of three lengths; and one that ends inside a character, in a vocabulary that begins with single bytes."""
    made = [Case(f"text-{i}", _fixed(text=f"<|im_start|>{words(rng, 2 + 6 * i)}")) for i in range(3)]
    return [*made, Case("ids-cut", _fixed(input_ids=[*rng.integers(32, 90, size=6).tolist(), LEADING_BYTE]))]


def _pictures(rng: np.random.Generator, mark: str) -> list[Case]:
    """One, several, adjacent, first and last; twice the same text and size with another picture; many."""
    said = words(rng, 4)
    sizes = [EDGES[int(i)] for i in rng.permutation(len(EDGES))]
    same = [noise(rng, sizes[0]) for _ in range(4)]
    apart = [noise(rng, size) for size in sizes[1:4]]
    texts = {
        "one": (f"{said}{mark}{words(rng)}", [same[0]]),
        "other": (f"{said}{mark}{words(rng)}", [same[1]]),
        "again": (f"{said}{mark}read", [same[2]]),
        "adjacent": (f"{mark}{mark}{words(rng)}", same[:2]),
        "adjacent-other": (f"{mark}{mark}{words(rng)}", [same[3], same[0]]),
        "transposed": (f"{mark}{words(rng)}{mark}{words(rng)}", [noise(rng, (84, 56)), noise(rng, (56, 84))]),
        "three": (f"a{mark}{words(rng)}{mark}b{mark}{words(rng)}", apart),
        "continued": (f"{said}{mark}read{mark}{words(rng)}", [same[2], apart[0]]),
        "many": (f"{words(rng)}{mark * 7}{words(rng)}", [noise(rng, (220, 220)) for _ in range(7)]),
        "edge": (f"{words(rng)}{mark}!", [noise(rng, sizes[4])]),
        "wide": (f"{mark}{words(rng)}", [noise(rng, sizes[5])]),
        "twice": (f"{mark}{words(rng)}{mark}and{mark}", [same[0], same[3], same[0]]),
    }
    flowed, tiny = f"{said}{mark}{words(rng)}", f"{mark}{words(rng, 14)}"
    cells = [noise(rng, (CELL, CELL)) for _ in range(6)]
    texts |= {
        "flowed": (flowed, [_flowed(cells, 3)]), "reflowed": (flowed, [_flowed(cells, 2)]),
        "tiny": (tiny, cells[:1]), "tiny-other": (tiny, cells[1:2]),
    }  # fmt: skip
    return [Case(name, _fixed(text=text, images=images)) for name, (text, images) in texts.items()]


def _flowed(cells: Sequence[Image.Image], across: int) -> Image.Image:
    """The same cells in the same order make pictures of several proportions, which have the same bytes for an encoder
    that reads cell by cell."""
    whole = Image.new("RGB", (CELL * across, CELL * (len(cells) // across)))
    for i, cell in enumerate(cells):
        whole.paste(cell, (CELL * (i % across), CELL * (i // across)))
    return whole


def make_tiles(model: Model, seed: int, most_rows: int, rows: int) -> list[Case]:
    """Very many small pictures, many to a prompt, all after the same text. A picture takes ``rows`` encoder rows; all
    together take at most ``most_rows``."""
    if model.image is None:
        return []
    rng, one = np.random.default_rng([seed, TILES]), SamplingParams(max_new_tokens=1)
    text = f"all of{model.image * TILES_A_PROMPT}are"
    pictures = [noise(rng, (CELL, CELL)) for _ in range(min(TILES, most_rows // rows))]
    return [
        Case(f"tiles-{i // TILES_A_PROMPT}", _fixed(text=text, images=pictures[i : i + TILES_A_PROMPT]), one, "tiles")
        for i in range(0, len(pictures) - TILES_A_PROMPT + 1, TILES_A_PROMPT)
    ]


def _videos(rng: np.random.Generator, model: Model) -> list[Case]:
    if model.video is None:
        return []
    text, made = f"{words(rng, 4)}{model.video}{words(rng)}", []
    for i, (count, fps) in enumerate(((3, 1.0), (6, float(rng.choice([1.3, 2.7]))), (9, 24.0))):
        frames = [noise(rng, (84, 56)) for _ in range(count)]
        made.append(Case(f"video-{i}", _fixed(text=text, videos=[Video(frames, fps)])))
    return [*made, Case("video-slow", _fixed(text=text, videos=[Video(frames, 0.7)]))]


def _modes(rng: np.random.Generator, mark: str) -> list[Case]:
    """The same picture in other clothes."""
    image = noise(rng, (84, 56))
    turned = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(turned, "PNG", exif=exif)
    shown = {"gray": image.convert("L"), "palette": image.convert("P"), "alpha": image.convert("RGBA")}
    said = words(rng)
    plain = [Case(f"mode-{name}", _fixed(text=f"{said}{mark}x", images=[one])) for name, one in shown.items()]
    return [*plain, Case("mode-turned", lambda: {"text": f"{said}{mark}x", "images": [Image.open(turned)]})]


def _alike(rng: np.random.Generator, mark: str) -> list[Case]:
    """Many pictures of one size, three of four after the same long text, all before the same."""
    one = SamplingParams(max_new_tokens=1)
    before, after = words(rng, 12), words(rng, 8)
    texts = [words(rng) if i % 4 == 3 else before for i in range(ALIKE)]
    return [
        Case(f"alike-{i}", _fixed(text=f"{text}{mark}{after}", images=[noise(rng, (56, 56))]), one, "alike")
        for i, text in enumerate(texts)
    ]


def _small(rng: np.random.Generator, mark: str) -> list[Case]:
    text = f"{words(rng)}{mark}x"
    return [Case(f"size-{w}x{h}", _fixed(text=text, images=[noise(rng, (w, h))]), group="refusable") for w, h in SMALL]


def _options(rng: np.random.Generator, pictures: Sequence[Case]) -> list[Case]:
    """Sampling parameters of every kind, with and without images."""
    base = SamplingParams(max_new_tokens=NEW_TOKENS, ignore_eos=True, seed=int(rng.integers(1 << 30)))
    drawn, shaped = replace(base, temperature=1.5), replace(base, ignore_eos=False, max_new_tokens=16)
    options = {
        "drawn": drawn,
        "top-k": replace(drawn, top_k=5, top_p=0.9),
        "penalties": replace(base, repetition_penalty=1.3, presence_penalty=0.5, frequency_penalty=0.5),
        "bytes": replace(drawn, logit_bias=dict.fromkeys(range(94, 256), 40.0), max_new_tokens=24),
        "special": replace(drawn, logit_bias=dict.fromkeys(range(990, 1018), 25.0), max_new_tokens=12),
        "shaped": replace(shaped, regex="(ab|ba){2}[0-9]{2,4}[xyz]{3}"),
        "punctuated": replace(shaped, regex="[a-z]( [.,!?][a-z]){3}"),
        "stopped-inside": replace(shaped, regex="x1y2z3x1y2z3", stop=("z3y", "2z3x1")),
        "choices": replace(drawn, n=3),
        "choices-of-bytes": replace(drawn, n=3, logit_bias=dict.fromkeys(range(94, 256), 40.0), max_new_tokens=12),
        "biased": replace(base, logit_bias={int(rng.integers(5, 900)): 30.0}),
        "longer": replace(base, max_new_tokens=4 * NEW_TOKENS),
        "ends": replace(base, stop_token_ids=tuple(range(0, 1000, 3)), max_new_tokens=12),
        "stopped": replace(base, stop=("e ", "th", "ab", " re"), max_new_tokens=16),
    }
    made = [
        Case(f"option-{name}", _fixed(text=f"<|im_start|>{words(rng)}"), params) for name, params in options.items()
    ]
    if pictures:
        made += [replace(pictures[0], name="image-drawn", sampling=options["drawn"])]
        made += [replace(pictures[6], name="image-longer", sampling=options["longer"])]
    return made


def _refused_texts() -> list[Case]:
    base = SamplingParams(max_new_tokens=2)
    ids: dict[str, list[int]] = {"empty": [], "negative": [5, -1, 7], "huge": [5, 200_000, 7], "past": [1 << 40]}
    wrong: dict[str, SamplingParams] = {
        "bias-past": replace(base, logit_bias={1 << 20: 1.0}),
        "stop-negative": replace(base, stop_token_ids=(-5,)),
        "bias-negative": replace(base, logit_bias={-3: 1.0}),
        "temperature": replace(base, temperature=-1.0),
    }
    return [
        *(Case(f"ids-{name}", _fixed(input_ids=value), group="refusable") for name, value in ids.items()),
        *(Case(f"wrong-{name}", _fixed(text="a"), params, "refusable") for name, params in wrong.items()),
    ]


def _picture_for_text(rng: np.random.Generator) -> Case:
    """An image for a model that has no eyes."""
    return Case("picture", _fixed(text="a", images=[noise(rng, (56, 56))]), group="refusable")


def _refused_pictures(rng: np.random.Generator, mark: str) -> list[Case]:
    """More placeholders than images, fewer, none; a file that says it is huge."""
    image = noise(rng, (56, 56))
    counts = {"more": (f"a{mark}b{mark}", [image]), "fewer": (f"a{mark}", [image, image]), "none": ("a", [image])}
    made = [
        Case(f"count-{name}", _fixed(text=text, images=images), group="refusable")
        for name, (text, images) in counts.items()
    ]
    return [*made, Case("count-huge", lambda: {"text": f"a{mark}", "images": [huge_header()]}, group="refusable")]


def huge_header(side: int = 18_000) -> Any:
    """A file of some sixty bytes that says it has ``side`` x ``side`` pixels."""

    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = part(b"IHDR", struct.pack(">IIBBBBB", side, side // 4, 8, 2, 0, 0, 0))
    return Image.open(
        io.BytesIO(b"\x89PNG\r\n\x1a\n" + head + part(b"IDAT", zlib.compress(b"\0")) + part(b"IEND", b""))
    )
