"""SGLang 0.5.23: pixel arrays of the same bytes and another shape share a cache key and a pad value."""

import torch
from sglang.srt.managers.mm_utils import hash_feature

pixels = torch.arange(12, dtype=torch.float32)
assert hash_feature(pixels.reshape(2, 6)) != hash_feature(pixels.reshape(6, 2))
