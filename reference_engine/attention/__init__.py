"""The decoder's attention over the paged cache, behind one seam, and the vision tower's over segments."""

from reference_engine.attention.paged import Backend, PagedStep, Window, paged_attention
from reference_engine.attention.segments import image_attention_apart, segment_attention, segment_attention_apart

__all__ = [
    "Backend", "PagedStep", "Window", "image_attention_apart", "paged_attention", "segment_attention",
    "segment_attention_apart",
]  # fmt: skip
