"""Lets a torchvision that was built for another torch decode image files, with Pillow, to the same pixels.

Its compiled decoder is missing then, and `transformers serve` answers every request that has a picture with status 500.
``ci/bench_environment.sh`` puts this into an environment, with a ``.pth`` line that imports it at every start. Where
torchvision has its own decoder nothing is changed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

DECODERS = "torchvision.io.image"


class _Loader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        super().exec_module(module)
        try:
            module._assert_has_image_ops()
        except RuntimeError:
            module.decode_image = decode_with_pillow  # type: ignore[attr-defined]


class _Finder(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        found = PathFinder.find_spec(fullname, path) if fullname == DECODERS else None
        if found is not None and found.origin is not None:
            found.loader = _Loader(fullname, found.origin)
        return found


def decode_with_pillow(data: Any, mode: Any = None, **_: Any) -> Any:
    """The bytes of an image file, uint8 [N], as RGB, uint8 [3, H, W]."""
    import io

    import numpy as np
    import torch
    from PIL import Image

    image = Image.open(io.BytesIO(data.numpy().tobytes())).convert("RGB")
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


sys.meta_path.insert(0, _Finder())
