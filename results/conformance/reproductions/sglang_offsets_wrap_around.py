"""SGLang 0.5.23: image tokens at both ends of a prompt lose their offsets; a prompt that is one image has none."""

import torch
from sglang.srt.multimodal.processors.base_processor import BaseMultimodalProcessor

find = BaseMultimodalProcessor.get_mm_items_offset
assert find(torch.tensor([7, 7, 1, 7]), 7) == [(0, 1), (3, 3)], find(torch.tensor([7, 7, 1, 7]), 7)
