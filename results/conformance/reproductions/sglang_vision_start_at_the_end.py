"""SGLang 0.5.23: a prompt whose last token is a vision start (typed or sampled) beside an image cannot be placed."""

import torch
from sglang.srt.layers.rotary_embedding.mrope_rope_index import get_rope_index

START, IMAGE = 5, 7
ids = torch.tensor([[1, START, *[IMAGE] * 4, 2, START]])
get_rope_index(
    spatial_merge_size=2, image_token_id=IMAGE, video_token_id=8, vision_start_token_id=START,
    model_type="qwen2_5_vl", tokens_per_second=2, input_ids=ids, image_grid_thw=torch.tensor([[1, 4, 4]]),
)  # fmt: skip
