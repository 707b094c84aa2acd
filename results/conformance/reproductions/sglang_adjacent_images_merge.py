"""SGLang 0.5.23: two images with nothing between them become one item's offset."""

import torch
from sglang.srt.multimodal.processors.base_processor import BaseMultimodalProcessor

ids = BaseMultimodalProcessor._expand_input_ids([1, 7, 7, 2], [3, 2], 7)
found = BaseMultimodalProcessor.get_mm_items_offset(torch.tensor(ids), 7)
assert found == [(1, 3), (4, 5)], found
