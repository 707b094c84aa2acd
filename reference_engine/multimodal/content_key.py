"""What makes one media item the same as another, to every cache: all that its rows depend on, and nothing else.

The key is a SHA-256 over the tensors as the encoder gets them, each with its name, dtype and shape (a transposed image
has the same bytes: dynamo#8340), the grids, and the processing options as resolved. Every part is written with its
length, so that no two items are written alike. It does not depend on the process, nor on an item's neighbours
(sglang#11785), nor on anything that a client says about its own images (vllm#55547).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def content_key(tensors: Mapping[str, Tensor], grids: Sequence[Sequence[int]], options: str) -> bytes:
    """32 bytes for one item. ``options`` spells every processing option with its value."""
    digest = hashlib.sha256()
    for part in (options.encode(), repr([tuple(grid) for grid in grids]).encode()):
        digest.update(len(part).to_bytes(8, "little") + part)
    for name, tensor in sorted(tensors.items()):
        head = f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()
        digest.update(len(head).to_bytes(8, "little") + head)
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.digest()
