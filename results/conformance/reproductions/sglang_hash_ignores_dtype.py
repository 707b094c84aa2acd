"""SGLang 0.5.23: the same bytes as another dtype share a cache key."""

import torch
from sglang.srt.managers.mm_utils import hash_feature

assert hash_feature(torch.zeros(4, dtype=torch.float32)) != hash_feature(torch.zeros(4, dtype=torch.int32))
