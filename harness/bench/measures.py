"""Figures of one contestant that are no rounds: the share of matrix products, memory under load, copy bandwidth.

They run in the contestant's own process. Each takes the contestant and plain arguments, and gives plain data back.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors import safe_open

from harness.bench.contestants.base import Contestant
from harness.observation import Prompt

MATRIX_PRODUCTS = ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear", "mkldnn::_linear_pointwise")
SHOWN_OPERATORS = 12


def operators(contestant: Contestant, prompts: Sequence[Prompt], arrivals: Sequence[float]) -> dict[str, Any]:
    """Where a round's time goes by torch's profiler: seconds of matrix products and of all operators, of the round's
    processor seconds; the rest is Python."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
        played = contestant.play(prompts, arrivals)
    own = {event.key: event.self_cpu_time_total / 1e6 for event in profiled.key_averages()}
    longest = sorted(own.items(), key=lambda pair: -pair[1])[:SHOWN_OPERATORS]
    return {
        "seconds": played.seconds,
        "cpu_seconds": played.cpu_seconds,
        "operators": sum(own.values()),
        "matrix_products": sum(own.get(name, 0.0) for name in MATRIX_PRODUCTS),
        "longest": dict(longest),
    }


def memory(contestant: Contestant, prompts: Sequence[Prompt], arrivals: Sequence[float]) -> dict[str, float]:
    """Resident MiB before, at most, and after playing the prompts twice; the first time makes what is made once."""
    contestant.play(prompts, arrivals)
    before = resident_mib()
    again = [replace(prompt, name=f"{prompt.name}.again") for prompt in prompts]
    contestant.play(again, arrivals)
    return {"before": before, "after": resident_mib(), "peak": peak_mib()}


def resident_mib() -> float:
    """This process's resident memory."""
    return psutil.Process().memory_info().rss / 2**20


def peak_mib() -> float:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def copy_bandwidth(contestant: Contestant, gib: float = 1.0, turns: int = 20) -> float:
    """Bytes a second that a plain copy reads and writes on the contestant's device; the best of some turns."""
    source = torch.empty(int(gib * 2**30), dtype=torch.uint8, device=contestant.setup.device)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(turns):
        _finish(contestant)
        began = time.perf_counter()
        target.copy_(source)
        _finish(contestant)
        best = min(best, time.perf_counter() - began)
    return 2 * source.numel() / best


def decode_bandwidth(contestant: Contestant, prompt: Prompt, tokens: int) -> dict[str, float]:
    """One request alone: weights read for each token, times tokens a second, against the bandwidth of a copy.

    The prompt's own time is taken out by playing it once more with a single new token.
    """
    weights = weight_bytes(Path(contestant.setup.model))
    times = {}
    for new in (1, tokens + 1, 1, tokens + 1):  # the first turn of each captures, compiles and warms
        played = contestant.play([replace(prompt, max_new_tokens=new)], [0.0])
        times[new] = played.seconds
    seconds = (times[tokens + 1] - times[1]) / tokens
    copied = copy_bandwidth(contestant)
    return {"seconds_a_token": seconds, "weight_bytes": weights, "copy": copied, "share": weights / seconds / copied}


def weight_bytes(checkpoint: Path) -> int:
    """Bytes of the weights that one decoded token reads, from the checkpoint's files: layers and head, not the vision
    tower; an embedding table only where it is the head too."""
    sizes: dict[str, int] = {}
    for file in checkpoint.glob("*.safetensors"):
        with safe_open(file, framework="pt") as tensors:
            sizes |= {name: tensors.get_tensor(name).nbytes for name in tensors.keys() if "visual" not in name}  # noqa: SIM118
    has_head = any("lm_head" in name for name in sizes)
    return sum(size for name, size in sizes.items() if not (has_head and "embed_tokens" in name))


def _finish(contestant: Contestant) -> None:
    if contestant.setup.device.startswith("cuda"):
        torch.cuda.synchronize()


MEASURES: Mapping[str, Callable[..., Any]] = {
    "operators": operators,
    "memory": memory,
    "decode_bandwidth": decode_bandwidth,
}
