"""SGLang 0.5.23: MRoPE positions of another prompt's length, and any delta, are taken for this prompt's."""

import torch
from sglang.srt.multimodal.processors.qwen_vl import QwenVLImageProcessor

processor = object.__new__(QwenVLImageProcessor)
ids = torch.arange(8)  # the prompt as run
given = {"input_ids": ids[None], "mrope_positions": torch.arange(5).expand(3, 5), "mrope_position_delta": [[123]]}
found = processor._get_precomputed_mrope_from_output(given)
assert found is None or found[0].shape[1] == len(ids), f"{list(found[0].shape)} for {len(ids)} ids, delta {found[1]}"
