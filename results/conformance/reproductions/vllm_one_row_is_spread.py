"""vLLM 0.32.0: an image whose encoder returned one row is spread over all its placeholders, without an error."""

import torch
from vllm.model_executor.models.utils import _merge_multimodal_embeddings

text, is_image = torch.zeros(6, 2), torch.tensor([False, True, True, True, True, False])
try:
    merged = _merge_multimodal_embeddings(text, [torch.tensor([[5.0, 7.0]])], is_image)
except ValueError as error:
    print("refused:", error)
else:
    raise AssertionError(f"1 row for 4 placeholders was taken: {merged[:, 0].tolist()}")
