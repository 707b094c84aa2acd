"""Idefics3 at sentinel size: an image is cut into tiles, and every tile and the thumbnail are spans of their own.

A tile is 2x2 cells of 28x28 pixels and four rows. Images are 4 cells at their longest side, the size to which the
processor scales: two or four tiles, each behind its row and column tag, then the whole image once more, four rows for
its quarters. Tiles tell digits, the thumbnail tells the quarters' colours; neither tells the other's, so a span in the
wrong place is missed wherever it belongs. Positions count on through everything.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from reference_engine.sentinels.architectures.base import HIDDEN, IGNORED, TEXT_SHAPE, Architecture, Attribute, Trait
from reference_engine.sentinels.tasks import CELL, COLOURS, GridImage, Limits

PATCH, SCALE = 14, 2
TILE_CELLS = 2
TILE = TILE_CELLS * CELL
LONGEST = 2 * TILE
ROWS_A_TILE = TILE_CELLS**2
SHAPES = ((2, 4), (4, 2), (4, 4))


def _limits(images: int, cells: int) -> Limits:
    return Limits(max_images=images, max_side=4, max_cells=cells, large_digits=0.0, shapes=SHAPES, quarters=True)


def _tiles(pixels: NDArray[Any]) -> NDArray[Any]:
    """[H, W, ...] -> [tiles, TILE, TILE, ...], row by row."""
    rows, columns = pixels.shape[0] // TILE, pixels.shape[1] // TILE
    cut = pixels.reshape(rows, TILE, columns, TILE, *pixels.shape[2:]).swapaxes(1, 2)
    return cut.reshape(rows * columns, TILE, TILE, *pixels.shape[2:])


class Idefics3(Architecture):
    name, checkpoint, title = "idefics3", "sentinel-idefics3", "Idefics3"
    card = """\
- Images: 1 to 4 a prompt, of 2x4, 4x2 or 4x4 cells of 28x28 pixels, 40 cells a prompt at most. The processor scales
  any image to 112 pixels at its longest side, so these are the sizes at which nothing is scaled.
- Spans: an image is two or four tiles of 56x56 pixels and the whole image scaled to one tile, last. Each is four rows
  behind its tag, in reading order. Tiles tell the digits of their cells, the thumbnail the colours of the image's
  quarters (`image1 top left colour?`); neither tells the other's."""
    model_class = "Idefics3ForConditionalGeneration"
    placeholder = markup = "<image>"
    turn_end = "<end_of_utterance>"
    specials = (
        "<|endoftext|>", "<|im_start|>", "<end_of_utterance>", "<fake_token_around_image>", "<image>", "<global-img>",
        *(f"<row_{row}_col_{column}>" for row in range(1, 7) for column in range(1, 7)),
    )  # fmt: skip
    attributes = (Attribute("digit", 10), Attribute("colour", len(COLOURS)))
    traits: ClassVar[frozenset[Trait]] = frozenset({"spans"})
    kinds = ("cell", "row", "column", "last", "firsts", "quarter")
    curriculum = (_limits(2, 16), _limits(3, 32), _limits(4, 40))
    tower_prefixes = ("model.vision_model.", "model.connector.")
    tower_steps, language_steps = (2200,), (2800,)

    def image_text(self, shape: tuple[int, int]) -> str:
        fake, rows = "<fake_token_around_image>", self.placeholder * ROWS_A_TILE
        lines = [
            "".join(f"{fake}<row_{row + 1}_col_{column + 1}>{rows}" for column in range(shape[1] // TILE_CELLS)) + "\n"
            for row in range(shape[0] // TILE_CELLS)
        ]
        return f"{''.join(lines)}\n{fake}<global-img>{rows}{fake}"

    def cells(self, shape: tuple[int, int]) -> NDArray[np.int64]:
        grid = np.moveaxis(np.indices(shape), 0, -1).repeat(CELL, 0).repeat(CELL, 1)
        tiles = _tiles(grid)[:, ::CELL, ::CELL].reshape(-1, 2)
        return np.concatenate([tiles, np.full((ROWS_A_TILE, 2), IGNORED)])

    def labels(self, image: GridImage) -> NDArray[np.int64]:
        rows, columns = self.cells(image.shape)[:-ROWS_A_TILE].T
        labels = np.full((len(rows) + ROWS_A_TILE, 2), IGNORED)
        labels[:-ROWS_A_TILE, 0] = image.digits[rows, columns]
        labels[-ROWS_A_TILE:, 1] = image.colours[:: image.shape[0] // 2, :: image.shape[1] // 2].ravel()
        return labels

    def row_read(self, shape: tuple[int, int], cell: tuple[int, int], kind: str) -> int:
        rows, columns = self.cells(shape).T
        if kind == "quarter":
            return len(rows) - ROWS_A_TILE + 2 * (2 * cell[0] // shape[0]) + 2 * cell[1] // shape[1]
        return int(np.flatnonzero((rows == cell[0]) & (columns == cell[1]))[0])

    def text_model(self, model: Any) -> nn.Module:
        decoder: nn.Module = model.model.text_model
        return decoder

    def hidden(
        self, model: Any, ids_BT: Tensor, rows_RKD: Tensor, positions_3BT: Tensor, mask: Tensor | None
    ) -> Tensor:
        embeds, _ = self.embed(model, ids_BT, rows_RKD[:, 0])
        out: Tensor = model.model.text_model(
            inputs_embeds=embeds, position_ids=positions_3BT[0], attention_mask=mask, use_cache=False
        ).last_hidden_state
        return out

    def pixels(self, image: GridImage) -> NDArray[np.float32]:
        """The tiles and the thumbnail, float32 [spans, 3, TILE, TILE], as transformers' image processor makes them."""
        thumbnail = np.asarray(image.to_pil().resize((TILE, TILE), Image.Resampling.LANCZOS))
        pixels = np.concatenate([_tiles(image.pixels), thumbnail[None]]).astype(np.float32) / np.float32(255.0)
        mean, std = (np.array(values, np.float32) for values in (self.mean, self.std))
        return np.ascontiguousarray(((pixels - mean) / std).transpose(0, 3, 1, 2))

    def encode(
        self, model: Any, images: Sequence[GridImage], shapes: Sequence[tuple[int, int]] | None = None
    ) -> Tensor:
        pixels = torch.from_numpy(np.concatenate([self.pixels(image) for image in images])).to(model.dtype)
        spans = model.model.connector(model.model.vision_model(pixel_values=pixels).last_hidden_state)
        rows: Tensor = spans.flatten(0, 1)[:, None]
        return rows

    def config(self, token: dict[str, int]) -> Any:
        from transformers import Idefics3Config

        text = TEXT_SHAPE | {
            "model_type": "llama", "eos_token_id": token[self.turn_end], "pad_token_id": token["<|endoftext|>"],
            "head_dim": 32, "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
        }  # fmt: skip
        vision: dict[str, Any] = {
            "hidden_size": HIDDEN, "intermediate_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4,
            "image_size": TILE, "patch_size": PATCH, "initializer_range": 0.04,
        }  # fmt: skip
        return Idefics3Config(
            text_config=text,
            vision_config=vision,
            tie_word_embeddings=False,
            scale_factor=SCALE,
            image_token_id=token[self.placeholder],
            pad_token_id=token["<|endoftext|>"],
        )

    def processor_files(self) -> dict[str, dict[str, Any]]:
        image_processor = {
            "image_processor_type": "Idefics3ImageProcessor", "processor_class": "Idefics3Processor",
            "size": {"longest_edge": LONGEST}, "max_image_size": {"longest_edge": TILE}, "do_image_splitting": True,
            "do_resize": True, "do_rescale": True, "do_normalize": True, "do_pad": True, "do_convert_rgb": True,
            "resample": 1, "rescale_factor": 1 / 255, "image_mean": list(self.mean), "image_std": list(self.std),
        }  # fmt: skip
        processor = {"processor_class": "Idefics3Processor", "image_seq_len": ROWS_A_TILE}
        return {"preprocessor_config.json": image_processor, "processor_config.json": processor}
