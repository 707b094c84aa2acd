"""The checkpoints that are run, and how each writes an item in a prompt. Small, with random weights: every token of a
prompt, and every row of an image, changes what follows."""

from __future__ import annotations

from dataclasses import dataclass

Size = tuple[int, int]
EDGES: tuple[Size, ...] = ((84, 56), (56, 84), (153, 174), (42, 70), (365, 211), (332, 27), (70, 42), (30, 45))
"""(width, height): transposed pairs, sides in the middle between two numbers of cells, sizes of bug reports."""
SMALL: tuple[Size, ...] = ((11, 3), (3, 11), (2, 2), (26, 28), (9, 40), (300, 1))


@dataclass(frozen=True)
class Model:
    name: str
    image: str | None
    """What a chat template writes for one image."""
    video: str | None = None


QWEN = ("<|vision_start|><|image_pad|><|vision_end|>", "<|vision_start|><|video_pad|><|vision_end|>")
MODELS = (
    Model("random-qwen2.5-vl", *QWEN),
    Model("random-qwen3-vl", *QWEN),
    Model("random-idefics3", "<image>"),
    Model("random-glm4v", "<|begin_of_image|><|image|><|end_of_image|>", "<|begin_of_video|><|video|><|end_of_video|>"),
    Model("random-llava-onevision", "<image>"),
    Model("random-gemma3", "<start_of_image>"),
    Model("random-qwen2", None),
)


def find_models(names: tuple[str, ...] = ()) -> list[Model]:
    """Those named, or all. Raises ``KeyError`` naming one that is not known."""
    known = {model.name: model for model in MODELS}
    return [known[name] for name in names or known]
