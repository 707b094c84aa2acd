"""Checks on many requests that are much alike: pictures of one size after the same text, with little room for them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from harness.differential.bench import Bench
from harness.differential.check import Check
from harness.differential.running import ask_all
from harness.differential.seen import difference
from reference_engine import Engine

Finds = Iterator[str]
STORMS = 3
BLOCK = 4
CHUNKS = (0, 7, 60, 90, 120)


def many_pictures_are_told_apart(bench: Bench) -> Finds:
    """One after the other, everything kept: no picture is taken for another one."""
    engine = bench.engine()
    for case in bench.cases("alike"):
        found = difference(bench.oracle.plain[case.name], ask_all(engine, [case])[case.name])
        if found is not None:
            yield f"{case.name} after others: {found}"


def storms_pass(bench: Bench) -> Finds:
    """In any order and any small room every request is answered as alone, and the books agree after every step."""
    cases = bench.cases("alike")
    if not cases:
        return
    prompt = bench.engine().prepare(cases[0].request())
    rows = sum(end - start + 1 for item in prompt.items for start, end in item.spans)
    for storm in range(STORMS):
        rng = np.random.default_rng([bench.oracle.seed, storm])
        engine = bench.engine(
            block_size=BLOCK, num_blocks=int(rng.integers(2, 16)) * -(-len(prompt.ids) // BLOCK) + 8,
            chunked_prefill=int(rng.choice(CHUNKS)), encoder_rows=rows * int(rng.integers(3, 10)), max_batch_size=12,
        )  # fmt: skip
        chosen = [cases[i] for i in rng.permutation(len(cases))[:20]]
        seen = ask_all(engine, chosen, after_step=Engine.check_integrity, apart=storm % 2)
        for case in chosen:
            found = difference(bench.oracle.plain[case.name], seen[case.name])
            if found is not None:
                yield f"{case.name} in storm {storm}: {found}"


STORM_CHECKS = (
    Check("many pictures are told apart", (4, 5), many_pictures_are_told_apart),
    Check("storms pass", (4, 11, 13, 14), storms_pass),
)
