"""transformers itself, imported once: after what a foreign torchvision lacks is defined, and with our attention
functions registered under names of their own.
"""

from __future__ import annotations

from reference_engine.attention import paged_attention, segment_attention, segment_attention_apart
from reference_engine.torchvision_guard import define_missing_operators

define_missing_operators()
# isort: split
import transformers as transformers  # noqa: E402  others take it from here
from transformers import AttentionInterface  # noqa: E402

TEXT_ATTENTION, VISION_ATTENTION = "assay_paged", "assay_flash_segments"
INVARIANT_VISION_ATTENTION = "assay_flash_segments_apart"
AttentionInterface.register(TEXT_ATTENTION, paged_attention)
AttentionInterface.register(VISION_ATTENTION, segment_attention)
AttentionInterface.register(INVARIANT_VISION_ATTENTION, segment_attention_apart)
