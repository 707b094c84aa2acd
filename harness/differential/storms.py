"""Checks on many requests that are much alike: pictures of one size after the same text, with little room for them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from harness.differential.bench import Bench
from harness.differential.check import Check
from harness.differential.running import ask_all
from harness.differential.seen import difference
from reference_engine import Engine
from reference_engine.block_pool import BlockLeak
from reference_engine.encoder_cache import Entry
from reference_engine.vision import EncodedItem

Finds = Iterator[str]
STORMS = 3
TURNS = 300
FEW = 12
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


def preempted_as_alone(bench: Bench) -> Finds:
    """Whoever runs loses its blocks now and then, and goes on where it was; the books agree after every step."""
    engine, rng = bench.engine(block_size=BLOCK), np.random.default_rng(bench.oracle.seed)
    cases = bench.cases()[:FEW]

    def jolt(running: Engine) -> None:
        if rng.random() < 0.4:
            running.preempt(cases[int(rng.integers(len(cases)))].name)
        running.check_integrity()

    for name, seen in ask_all(engine, cases, after_step=jolt).items():
        found = difference(bench.alone[name], seen)
        if found is not None:
            yield f"{name}, preempted now and then: {found}"


def pinned_rows_stay(bench: Bench) -> Finds:
    """Rows taken and given back in any order: what somebody holds is there, what is kept fits, and the books agree."""
    cases = bench.cases("alike")[:24]
    if not cases:
        return
    items = [bench.engine().prepare(case.request()).items[0] for case in cases]
    rows = sum(end - start + 1 for start, end in items[0].spans)
    cache, rng = bench.engine(encoder_rows=8 * rows).scheduler.rows, np.random.default_rng(bench.oracle.seed)
    held: list[Entry] = []
    for turn in range(TURNS):
        item = items[int(rng.integers(len(items)))]
        if held and (rng.random() < 0.4 or not cache.fits([item], "holder")):
            cache.unpin([held.pop(int(rng.integers(len(held))))])
        else:
            held.append(cache.pin(item, "holder")[0])
            cache.fill(held[-1], EncodedItem(torch.zeros(rows, 1), None, [rows], 1))
        try:
            cache.check(held)
        except BlockLeak as leak:
            yield f"after {turn + 1} turns, {len(held)} held: {leak}"
            return
    cache.unpin(held)


STORM_CHECKS = (
    Check("many pictures are told apart", (4, 5), many_pictures_are_told_apart),
    Check("storms pass", (4, 11, 13, 14), storms_pass),
    Check("preempted = alone", (11, 13, 14), preempted_as_alone),
    Check("pinned rows stay", (13, 14), pinned_rows_stay),
)
