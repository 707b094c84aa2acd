"""Lets a released SGLang serve dense models on a CPU, where neither its kernels nor torchvision's can be installed.

Put beside SGLang by ``ci/sglang_on_cpu/install.sh PYTHON``; a line in a ``.pth`` file imports it at every start. Before
torchvision is imported the two operators that it expects are declared, which nothing here calls.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from typing import Any


class DeclareOperators(MetaPathFinder):
    """Finds nothing itself: it acts once, when torchvision is looked for."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            import torch

            self.library = torch.library.Library("torchvision", "FRAGMENT")
            for operator in ("nms", "qnms"):
                self.library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return None


sys.meta_path.insert(0, DeclareOperators())
