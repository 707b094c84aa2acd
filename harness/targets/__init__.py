"""Targets by name: the built-in ones, any that an installed package registers, or a class given as ``module:Class``."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points

from harness.errors import UsageError
from harness.targets.base import Target
from harness.targets.openai import OpenAITarget, TransformersTarget
from harness.targets.reference import ReferenceTarget
from harness.targets.sglang import SGLangTarget
from harness.targets.vllm import VLLMTarget

GROUP = "assay.targets"
BUILT_IN: dict[str, type[Target]] = {
    target.name: target for target in (ReferenceTarget, SGLangTarget, VLLMTarget, TransformersTarget, OpenAITarget)
}


def target_names() -> list[str]:
    return sorted(BUILT_IN.keys() | {entry.name for entry in entry_points(group=GROUP)})


def find_target(name: str) -> Target:
    """An instance of the target called ``name``. Raises :class:`UsageError` listing the known ones."""
    if name in BUILT_IN:
        return BUILT_IN[name]()
    for entry in entry_points(group=GROUP, name=name):
        return _instance(name, entry.load())
    module, separator, attribute = name.partition(":")
    if separator:
        try:
            return _instance(name, getattr(import_module(module), attribute))
        except (ImportError, AttributeError) as error:
            raise UsageError(f"target {name!r} cannot be loaded: {error}") from error
    raise UsageError(f"unknown target {name!r}; known: {', '.join(target_names())}, or module:Class")


def _instance(name: str, made_from: object) -> Target:
    if not (isinstance(made_from, type) and issubclass(made_from, Target)):
        raise UsageError(f"target {name!r} is not a subclass of harness.targets.base.Target")
    return made_from()
