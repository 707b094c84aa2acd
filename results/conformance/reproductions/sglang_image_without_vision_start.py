"""SGLang 0.5.23: an image that no vision start precedes is not counted, and positions cannot be made."""

import torch
from sglang.srt.layers.rotary_embedding.mrope_rope_index import get_rope_index

START, IMAGE = 5, 7
ids = torch.tensor([[1, START, *[IMAGE] * 4, *[IMAGE] * 4, 2]])  # two images, nothing between them
positions, _ = get_rope_index(
    spatial_merge_size=2, image_token_id=IMAGE, video_token_id=8, vision_start_token_id=START, tokens_per_second=2,
    model_type="qwen2_5_vl", input_ids=ids, image_grid_thw=torch.tensor([[1, 4, 4], [1, 4, 4]]),
)  # fmt: skip
assert positions[0, 0, 6:10].tolist() == [4, 4, 4, 4], positions[:, 0].tolist()
