"""Checks that a picture is looked at, the right one, at the right place, and every time."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from harness.observation import Picture
from harness.probe.asking import Ask, Reply
from harness.probe.bench import LAST, QUESTION, Bench, gap
from harness.probe.outcomes import Lacking, Unsure, Wrong
from harness.probe.pictures import lower_half_of, modes, nearly, reshaped, turned

SIZE = (112, 84)
MANY = 40
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


def other_proportions(bench: Bench) -> str:
    """The same bytes in another shape, whose near copy tells what it is without a cache."""
    bench.speaks.need("images")
    first = bench.pictures.one((140, 56))
    second = reshaped(first)
    _about(bench, first)
    bench.same(
        _about(bench, nearly(second)),
        _about(bench, second),
        "equal bytes of another shape are taken for them",
        near=True,
    )
    return "pictures of equal bytes and other proportions are two pictures"


def going_on(bench: Bench) -> str:
    """A dialogue that goes on from what is kept of it, and a near copy of it that nothing is kept of."""
    a, b, _ = _three(bench)

    def dialogue(one: Picture, other: Picture) -> Ask:
        return Ask.user("See this: ", one, "so?", max_tokens=TOKENS).then("Well.", "And this: ", other, "so?")

    bench.ask(Ask.user("See this: ", a, "so?", max_tokens=TOKENS))
    warm, cold = bench.ask(dialogue(a, b)), bench.ask(dialogue(nearly(a), nearly(b)))
    found = bench.same(cold, warm, "a dialogue as it goes on, and asked at once", near=True)
    bench.differ(warm, bench.ask(dialogue(a, a)), "the second picture of a dialogue exchanged")
    return f"a dialogue that goes on answers as one that is asked at once ({found:.2g} apart)"


def crowd(bench: Bench) -> str:
    """Mixed sizes, texts and options at once, against each one alone. Each crowd sees near copies, so that no cache
    answers for them.
    """
    bench.speaks.need("images")
    sizes = ((112, 84), (84, 112), (56, 56), (153, 174), (28, 140), (84, 56), (112, 84))
    pictures = bench.pictures.several_sizes(sizes)
    alone = [bench.ask(ask) for ask in _crowd(bench, pictures)]
    widest = 0.0
    for place in range(3):
        crowd = _crowd(bench, [nearly(picture, place) for picture in pictures])
        for i, (one, other) in enumerate(zip(alone, bench.together(crowd), strict=True)):
            if one.prompt_tokens != other.prompt_tokens:
                raise Wrong(
                    f"request {i} has {other.prompt_tokens} prompt tokens in a crowd, {one.prompt_tokens} alone"
                )
            widest = max(
                widest, bench.same(one, other, f"request {i} of {len(alone)} alone, and among the others", near=True)
            )
    for ask, one in list(zip(_crowd(bench, pictures), alone, strict=True))[::3]:
        bench.same(one, bench.ask(ask, again=True), "a request alone again, after the crowd")
    return f"{len(alone)} requests at once, three times, answer as alone (at most {widest:.2g} nats apart)"


def _crowd(bench: Bench, pictures: Sequence[Picture]) -> list[Ask]:
    lengths = (TOKENS, 2, TOKENS, 12, 4, TOKENS, 1)
    asks = [Ask.user(one, QUESTION, max_tokens=n) for one, n in zip(pictures, lengths, strict=True)]
    asks += [
        Ask.user(*pictures[:3], LAST, max_tokens=TOKENS),
        Ask.user("a", pictures[4], "b", pictures[0], max_tokens=3),
    ]
    asks += [bench.text_ask, Ask.user("Say one more word, then another.", max_tokens=12)]
    if bench.draws_alike and not bench.rounded:
        drawn = {"temperature": 1.5, "seed": 11}
        asks += [
            Ask.user("Say anything.", max_tokens=12, **drawn),
            Ask.user(pictures[2], "Say it.", max_tokens=6, **drawn),
        ]
    return asks


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
