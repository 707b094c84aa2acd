"""SGLang 0.5.23: one image whose encoder rows do not fit its placeholders fails every request of the ViT batch."""

import torch
from sglang.srt.managers import mm_schedule as schedule
from sglang.srt.managers.schedule_batch import Modality, MultimodalDataItem

schedule.init_mm_embedding_cache(1 << 20)
spans = [[(1, 2)], [(1, 2)]]  # two requests, one image of two tokens each
items = [MultimodalDataItem(modality=Modality.IMAGE, offsets=at, hash=k) for k, at in enumerate(spans)]
rows = {0: torch.tensor([[0.0], [1.0]]), 1: torch.tensor([[10.0], [11.0], [12.0]])}  # the second returns one too many
got, _ = schedule._get_chunked_prefill_embedding(
    lambda missing: torch.cat([rows[i.hash] for i in missing]), items, [0, 1, 2], [0, 0], [4, 4], spans,
    torch.zeros(8, dtype=torch.int64),
)  # fmt: skip
assert got[:2].flatten().tolist() == [0, 1], "the first request should have its rows"
