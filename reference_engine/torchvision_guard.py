"""Lets an installed torchvision be imported beside a torch that it was not built for. Call before transformers is
imported.

transformers imports torchvision wherever it finds it, image models or not. A CUDA build beside a CPU torch cannot load
its extension, and its import then fails ("operator torchvision::nms does not exist"), because it registers shape
functions for operators that the extension would have defined. Defining those operators' signatures is enough: nothing
here calls them. Where torchvision is absent or healthy this changes nothing.
"""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import torch

logger = logging.getLogger(__name__)
_OPERATORS = torch.library.Library("torchvision", "FRAGMENT")


def define_missing_operators() -> bool:
    """Whether anything had to be defined."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        return False
    extensions = sorted(Path(spec.submodule_search_locations[0]).glob("_C*.*"))
    try:
        torch.ops.load_library(str(extensions[0]))
        return False
    except (OSError, IndexError) as error:
        logger.info("torchvision's extension does not load beside this torch: %s", error)
    for operator in ("nms", "qnms"):
        if not hasattr(torch.ops.torchvision, operator):
            _OPERATORS.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return True
