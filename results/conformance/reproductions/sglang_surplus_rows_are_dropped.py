"""SGLang 0.5.23: an image of several spans whose encoder returned a row too many is cut to fit, without a word."""

import torch
from sglang.srt.managers import mm_schedule as schedule
from sglang.srt.managers.schedule_batch import Modality, MultimodalDataItem

schedule.init_mm_embedding_cache(1 << 20)
spans = [(1, 2), (4, 5)]  # one image of two slices
item = MultimodalDataItem(modality=Modality.IMAGE, offsets=spans, hash=1)
rows = torch.arange(5.0)[:, None]  # which slice has the row too many? from here on nobody knows
try:
    got, _ = schedule._get_chunked_prefill_embedding(
        lambda missing: rows, [item], [0, 1], [0], [7], [spans], torch.zeros(7, dtype=torch.int64)
    )
except Exception as error:
    print("refused:", error)
else:
    raise AssertionError(f"5 rows for 4 placeholders were taken as {got.flatten().tolist()}")
