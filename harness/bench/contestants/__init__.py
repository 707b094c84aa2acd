"""The contestants by kind. Only the module of the one that runs is imported: each may need its own environment."""

from __future__ import annotations

from importlib import import_module

from harness.bench.contestants.base import Contestant, Setup

__all__ = ["KINDS", "Contestant", "Setup", "build"]
KINDS: dict[str, str] = {
    "ours": "harness.bench.contestants.ours:Ours",
    "ours-server": "harness.bench.contestants.served:OursServer",
    "generate": "harness.bench.contestants.generate:OneByOne",
    "generate-padded": "harness.bench.contestants.generate:Padded",
    "transformers-cb": "harness.bench.contestants.continuous:ContinuousBatching",
    "transformers-serve": "harness.bench.contestants.served:TransformersServe",
    "ours-prompts": "harness.bench.contestants.parts:PromptMaker",
    "ours-processed-prompts": "harness.bench.contestants.parts:ProcessedPromptMaker",
    "ours-detokenizer": "harness.bench.contestants.parts:Detokenizer",
    "vllm": "harness.bench.contestants.vllm:VLLM",
}
"""Kind -> where its class is."""


def build(kind: str, setup: Setup) -> Contestant:
    """Load the model into a contestant; ``kind`` may also be ``module:Class``. Raises whatever its library raises."""
    module, _, name = KINDS.get(kind, kind).partition(":")
    contestant: Contestant = getattr(import_module(module), name)(setup)
    return contestant
