"""Stand-ins for compiled parts that an engine imports but that judging its plain functions never calls.

On a machine without its kernels SGLang cannot be imported at all, nor transformers' image classes beside a torchvision
built for another torch. These let both imports pass; whatever is called in a stand-in raises. Where the real thing is
installed nothing is done.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch

_TORCHVISION = torch.library.Library("torchvision", "FRAGMENT")


class Missing:
    """Has every attribute; none can be called."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Missing:
        if name.startswith("__"):
            raise AttributeError(name)
        return Missing(f"{self._name}.{name}")

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        raise NotImplementedError(f"{self._name} is compiled code, which is not installed here")


class MissingModule(ModuleType):
    def __getattr__(self, name: str) -> Missing:
        if name.startswith("__"):
            raise AttributeError(name)
        return Missing(f"{self.__name__}.{name}")


class CpuOperators:
    """Of a package for many devices, those of its CPU build: others are asked for before they are used."""

    def __init__(self, package: str) -> None:
        self._package = package

    def __getattr__(self, name: str) -> Missing:
        if not name.endswith("_cpu"):
            raise AttributeError(name)
        return Missing(f"torch.ops.{self._package}.{name}")


class _Finder(MetaPathFinder, Loader):
    def __init__(self, package: str) -> None:
        self._package = package

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.split(".")[0] == self._package else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return MissingModule(spec.name)

    def exec_module(self, module: ModuleType) -> None: ...


def stand_in(package: str) -> None:
    """For ``package``, everything in it and the operators of its CPU build."""
    if importlib.util.find_spec(package) is None:
        sys.meta_path.append(_Finder(package))
        setattr(torch.ops, package, CpuOperators(package))


def stand_in_for_torchvision() -> None:
    """For the compiled operators that its Python part looks up at import."""
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            _TORCHVISION.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
