"""transformers 5.23.0: images with no token between them are placed as one."""

from types import SimpleNamespace

import torch
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel as Model

config = SimpleNamespace(vision_config=SimpleNamespace(spatial_merge_size=2, tokens_per_second=2))
model = SimpleNamespace(config=config)
model.get_vision_position_ids = Model.get_vision_position_ids.__get__(model)
kinds = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 1, 1, 0]], dtype=torch.int)  # text, two images of 2x2 tokens, text
positions, _ = Model.get_rope_index(model, torch.ones(1, 10, dtype=torch.long), kinds, torch.tensor([[1, 4, 4]] * 2))
assert positions[0, 0].tolist() == [0, 1, 1, 1, 1, 3, 3, 3, 3, 5], positions[:, 0].tolist()
