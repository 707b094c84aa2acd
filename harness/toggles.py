"""The toggle table: a named behaviour, its settings, and where it was reported. How a target spells it is the target's
own.

``parse_overrides(["avoid_retokenize=off"])`` is what ``--toggle`` reads; an unknown name or setting is refused with
the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.errors import UsageError


@dataclass(frozen=True)
class Toggle:
    name: str
    settings: tuple[str, ...]
    """The old behaviour first. Empty: any whole number."""
    source: str
    summary: str

    @property
    def off(self) -> str:
        return self.settings[0]

    @property
    def on(self) -> str:
        return self.settings[1]

    def check(self, setting: str) -> str:
        """``setting`` itself, or :class:`UsageError` naming what is allowed."""
        allowed = setting in self.settings if self.settings else setting.isdigit()
        if not allowed:
            known = ", ".join(self.settings) or "a whole number"
            raise UsageError(f"toggle {self.name}: {setting!r} is not one of its settings; known: {known}")
        return setting


@dataclass(frozen=True)
class Spelling:
    """How one target is told a setting: a flag with a value, an environment variable, its own words for the settings,
    or whole arguments a setting.
    """

    flag: str | None = None
    env: str | None = None
    words: Mapping[str, str] | None = None
    arguments: Mapping[str, tuple[str, ...]] | None = None

    def spell(self, setting: str) -> tuple[list[str], dict[str, str]]:
        word = (self.words or {}).get(setting, setting)
        flags = [self.flag, word] if self.flag else []
        if self.arguments and setting in self.arguments:
            flags = list(self.arguments[setting])
        return flags, ({self.env: word} if self.env else {})


def switch(off: tuple[str, ...] = (), on: tuple[str, ...] = ()) -> Spelling:
    """A flag that stands alone, there in one setting and not in the other."""
    return Spelling(arguments={"off": off, "on": on})


TOGGLES: dict[str, Toggle] = {
    toggle.name: toggle
    for toggle in (
        Toggle("avoid_retokenize", ("off", "on"), "sglang#26555", "expand placeholders in the caller's own ids"),
        Toggle("reuse_processor_output", ("off", "on"), "sglang#26116", "use a processor's output that a request has"),
        Toggle("native_decode", ("off", "on"), "sglang#25309", "a slow tokenizer's own decoder makes the text"),
        Toggle("skip_tokenizer_init", ("off", "on"), "sglang#18378", "no tokenizer is loaded: ids in, ids out"),
        Toggle(
            "vit_batching", ("per_item", "cross_request"), "sglang#25910", "encode waiting requests' images together"
        ),
        Toggle("encoder_cache", ("off", "on"), "sglang#36595", "encode equal images once and keep their rows"),
        Toggle("prefix_cache", ("off", "on"), "sglang-omni#258", "share the KV blocks of prompts that begin alike"),
        Toggle("chunked_prefill", (), "vllm#10388", "most prompt tokens of one step; 0 means whole prompts"),
        Toggle("encoder_overlap", ("off", "on"), "sglang-jax#1487", "images are encoded while others decode"),
        Toggle("compile", ("off", "on"), "vllm#43617", "the decoder is compiled as one graph"),
        Toggle("cuda_graph", ("off", "on"), "transformers#45323", "decoding steps are recorded once and replayed"),
        Toggle("mm_processor_cache", ("off", "on"), "vllm#12973", "keep what the processor made of an image"),
        Toggle("chunked_mm_input", ("off", "on"), "vllm#18414", "chunks of a prompt may end inside an image"),
        Toggle("max_num_seqs", (), "vllm#51902", "most requests that run at once"),
        Toggle("dtype", ("float32", "bfloat16", "float16"), "vllm#51902", "of weights and activations"),
        Toggle("batch_invariant", ("off", "on"), "vllm#51902", "answers bitwise the same in any batch"),
    )
}


def find_toggle(name: str) -> Toggle:
    if name not in TOGGLES:
        raise UsageError(f"unknown toggle {name!r}; known: {', '.join(sorted(TOGGLES))}")
    return TOGGLES[name]


def parse_overrides(assignments: Iterable[str]) -> dict[str, str]:
    """``name=setting`` strings as a mapping."""
    settings = {}
    for assignment in assignments:
        name, separator, setting = assignment.partition("=")
        if not separator:
            raise UsageError(
                f"--toggle {assignment!r}: write name=setting; known toggles: {', '.join(sorted(TOGGLES))}"
            )
        settings[name] = find_toggle(name).check(setting)
    return settings
