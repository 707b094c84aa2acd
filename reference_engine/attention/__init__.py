"""The decoder's attention over the paged cache, behind one seam, and the vision tower's over segments."""

from reference_engine.attention.paged import Backend, PagedStep, Window, paged_attention
from reference_engine.attention.segments import segment_attention, segment_attention_apart

__all__ = ["Backend", "PagedStep", "Window", "paged_attention", "segment_attention", "segment_attention_apart"]
