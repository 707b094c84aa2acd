"""transformers itself, imported once: after what a foreign torchvision lacks is defined, and with our attention
functions registered under names of their own.
"""

from __future__ import annotations

from reference_engine.attention import (
    image_attention_apart,
    paged_attention,
    segment_attention,
    segment_attention_apart,
)
from reference_engine.torchvision_guard import define_missing_operators

define_missing_operators()
# isort: split
import transformers as transformers  # noqa: E402  others take it from here
from transformers import AttentionInterface, AttentionMaskInterface  # noqa: E402
from transformers.masking_utils import sdpa_mask  # noqa: E402

TEXT_ATTENTION, VISION_ATTENTION = "assay_paged", "assay_flash_segments"
INVARIANT_VISION_ATTENTION, INVARIANT_IMAGE_ATTENTION = "assay_flash_segments_apart", "assay_images_apart"
AttentionInterface.register(TEXT_ATTENTION, paged_attention)
AttentionInterface.register(VISION_ATTENTION, segment_attention)
AttentionInterface.register(INVARIANT_VISION_ATTENTION, segment_attention_apart)
AttentionInterface.register(INVARIANT_IMAGE_ATTENTION, image_attention_apart)
AttentionMaskInterface.register(INVARIANT_IMAGE_ATTENTION, sdpa_mask)


def vision_attention(*, segments: bool, batch_invariant: bool) -> dict[str, str]:
    """What a vision tower attends by, as ``set_attn_implementation`` takes it; its own way where nothing is said."""
    if segments:
        return {"vision_config": INVARIANT_VISION_ATTENTION if batch_invariant else VISION_ATTENTION}
    return {"vision_config": INVARIANT_IMAGE_ATTENTION} if batch_invariant else {}
