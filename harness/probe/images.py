"""Checks that a picture is looked at, the right one, at the right place, and every time."""

from __future__ import annotations

from itertools import combinations

from harness.observation import Picture
from harness.probe.asking import Ask, Reply
from harness.probe.bench import LAST, QUESTION, Bench, gap
from harness.probe.outcomes import Lacking, Unsure, Wrong
from harness.probe.pictures import lower_half_of, modes, turned

SIZE = (112, 84)
MANY = 24
TOKENS = 8


def looked_at(bench: Bench) -> str:
    """Same text, same size, another picture; then the first again, which may now come from a cache."""
    bench.speaks.need("images")
    a, b = bench.pictures.several(SIZE, 2)
    first, other, again = _about(bench, a), _about(bench, b), bench.ask(_asked(a), again=True)
    found = bench.differ(first, other, "two pictures under the same text")
    bench.same(first, again, "the first picture again, after another one")
    return f"another picture, another answer ({_told(found)}); the first again, the first answer"


def each_place(bench: Bench) -> str:
    """Of two pictures, either one is exchanged."""
    a, b, c = _three(bench)
    pair = _about(bench, a, b)
    bench.differ(pair, _about(bench, c, b), "the first of two pictures exchanged")
    bench.differ(pair, _about(bench, a, c), "the second of two pictures exchanged")
    return "exchanging either of two pictures changes the answer"


def order(bench: Bench) -> str:
    a, b, _ = _three(bench)
    pair, swapped = _about(bench, a, b), _about(bench, b, a)
    bench.differ(pair, swapped, "two pictures swapped")
    bench.same(pair, bench.ask(_asked(a, b), again=True), "the first order again")
    return "swapping two pictures changes the answer; swapping them back brings the first one"


def apart(bench: Bench) -> str:
    """Text between, before and after pictures: where a picture stands matters too."""
    a, b, _ = _three(bench)
    together = bench.ask(Ask.user(a, b, "then this.", max_tokens=TOKENS))
    between = bench.ask(Ask.user(a, "then this.", b, max_tokens=TOKENS))
    before = bench.ask(Ask.user("then this.", a, b, max_tokens=TOKENS))
    for one, other, what in ((together, between, "after and between"), (between, before, "between and before")):
        bench.differ(one, other, f"text {what} two pictures")
    return "text before, between and after two pictures gives three answers"


def lower_half(bench: Bench) -> str:
    """Pictures that begin with the same bytes."""
    bench.speaks.need("images")
    image, other = bench.pictures.image((168, 168)), bench.pictures.image((168, 168))
    first, second = _about(bench, Picture.of(image)), _about(bench, lower_half_of(image, other))
    found = bench.differ(first, second, "pictures with the same upper half")
    return f"pictures that differ in their lower half alone get other answers ({_told(found)})"


def no_two_alike(bench: Bench) -> str:
    """Short cache keys meet: among so many pictures, none may answer with another's numbers."""
    bench.speaks.need("images", "log-probabilities")
    pictures = bench.pictures.several((56, 56), MANY)
    asks = [Ask.user(picture, QUESTION, max_tokens=TOKENS) for picture in pictures]
    replies = [bench.ask(ask) for ask in asks]
    alike = [(i, j) for (i, a), (j, b) in combinations(enumerate(replies), 2) if gap(a, b) == 0.0]
    if alike:
        raise Wrong(
            f"pictures {alike[0][0]} and {alike[0][1]} of {MANY} get the same numbers to the last digit", alike=alike
        )
    late = [bench.ask(ask, again=True) for ask in asks[::6]]
    for first, again in zip(replies[::6], late, strict=True):
        bench.same(first, again, f"a picture again, after {MANY} others")
    return f"{MANY} pictures of one size get {MANY} answers, and later the same ones"


def turned_upright(bench: Bench) -> str:
    """EXIF orientation: the file's own word on how it is to be shown."""
    bench.speaks.need("images")
    file, shown = turned(bench.pictures.image((140, 56)))
    as_sent, upright = _about(bench, file), _about(bench, shown)
    if as_sent.prompt_tokens != upright.prompt_tokens:
        raise Wrong(
            f"the file costs {as_sent.prompt_tokens} prompt tokens, the picture as it is shown {upright.prompt_tokens}"
        )
    bench.same(upright, as_sent, "a file with an EXIF orientation is not run as the picture that it shows")
    return "a file with an EXIF orientation runs as the picture that it shows"


def in_other_modes(bench: Bench) -> str:
    bench.speaks.need("images")
    for name, (dressed, plain) in modes(bench.pictures.image((84, 84))).items():
        reply = bench.attempt(_asked(dressed))
        if reply.status >= 500 or not reply.status:
            raise Wrong(f"a {name} PNG: {reply.status or 'no answer'}, {reply.error}")
        if not reply.ok:
            raise Unsure(f"a {name} PNG is refused ({reply.status}: {reply.error})")
        bench.same(_about(bench, plain), reply, f"a {name} PNG and the RGB picture that it is")
    return "grey, palette and opaque alpha run as the RGB pictures that they are"


def crowd(bench: Bench) -> str:
    """Mixed sizes and texts at once, against each one alone; and alone again afterwards."""
    bench.speaks.need("images")
    sizes = ((112, 84), (84, 112), (56, 56), (153, 174), (28, 140), (84, 56))
    asks = [Ask.user(bench.pictures.one(size), QUESTION, max_tokens=TOKENS) for size in sizes]
    a, b, _ = _three(bench)
    asks += [
        _asked(a, b),
        _asked(b, a),
        bench.text_ask,
        Ask.user("Say one more word, then another.", max_tokens=TOKENS),
    ]
    alone = [bench.ask(ask) for ask in asks]
    widest = 0.0
    for _ in range(2):
        for i, (one, other) in enumerate(zip(alone, bench.together(asks), strict=True)):
            if one.prompt_tokens != other.prompt_tokens:
                raise Wrong(
                    f"request {i} has {other.prompt_tokens} prompt tokens in a crowd, {one.prompt_tokens} alone"
                )
            widest = max(widest, bench.same(one, other, f"request {i} of {len(asks)} alone, and among the others"))
    for ask, one in list(zip(asks, alone, strict=True))[::3]:
        bench.same(one, bench.ask(ask, again=True), "a request alone again, after the crowd")
    return f"{len(asks)} requests at once, twice, answer as alone (at most {widest:.2g} nats apart)"


def _three(bench: Bench) -> list[Picture]:
    bench.speaks.need("images")
    three = bench.three
    if not bench.attempt(_asked(*three[:2])).ok and bench.attempt(_asked(three[0])).ok:
        raise Lacking(f"two images in a message are refused: {bench.attempt(_asked(*three[:2])).error}")
    return three


def _asked(*pictures: Picture) -> Ask:
    return Ask.user(*pictures, QUESTION if len(pictures) == 1 else f"First, then second, {LAST}", max_tokens=TOKENS)


def _about(bench: Bench, *pictures: Picture) -> Reply:
    return bench.ask(_asked(*pictures))


def _told(found: float) -> str:
    return "other words" if found == float("inf") else f"{found:.2g} apart"
