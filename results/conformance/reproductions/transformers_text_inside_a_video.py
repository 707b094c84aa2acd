"""transformers 5.23.0: text after a video that is longer than it is wide shares positions with the video."""

from types import SimpleNamespace

import torch
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel as Model

model = SimpleNamespace(
    config=SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=2, tokens_per_second=2))
)
model.get_vision_position_ids = Model.get_vision_position_ids.__get__(model)
kinds = torch.tensor([[0] + [2] * 32 + [0, 0]], dtype=torch.int)  # text, eight frames of 2x2 tokens, text
positions, _ = Model.get_rope_index(
    model, torch.ones(1, 35, dtype=torch.long), kinds, video_grid_thw=torch.tensor([[8, 4, 4]]),
    second_per_grid_ts=torch.tensor([0.5]),
)  # fmt: skip
video, text = positions[:, 0, 1:33], positions[:, 0, 33:]
assert text.min() > video.max(), f"text at {text[0].tolist()}, the last frame at {int(video.max())}"
