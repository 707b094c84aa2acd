"""SGLang 0.5.23: a request retracted while it generates goes on at wrong MRoPE positions if its prompt ends with an
image."""

import torch
from sglang.srt.layers.rotary_embedding.mrope_rope_index import get_rope_index
from sglang.srt.managers.mm_utils import extend_mrope_positions_for_retracted_request

START, IMAGE = 5, 7
ids = torch.tensor([[1, START, *[IMAGE] * 6]])  # text, then an image of 2x3 tokens
positions, delta = get_rope_index(
    spatial_merge_size=2, image_token_id=IMAGE, video_token_id=8, vision_start_token_id=START,
    model_type="qwen2_5_vl", tokens_per_second=2, input_ids=ids, image_grid_thw=torch.tensor([[1, 4, 6]]),
)  # fmt: skip
decode = ids.shape[1] + int(delta)  # where decoding puts the first generated token: one past the largest
resumed = extend_mrope_positions_for_retracted_request(positions[:, 0], 1)[:, -1].tolist()
assert resumed == [decode] * 3, (resumed, decode)
