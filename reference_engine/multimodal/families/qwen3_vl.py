"""Qwen3-VL: Qwen2-VL's images, interleaved MRoPE (the model's own affair), and deepstack rows for the decoder's first
layers, which travel beside the image's rows.
"""

from __future__ import annotations

from reference_engine.multimodal.families.qwen2_vl import Qwen2VL


class Qwen3VL(Qwen2VL):
    """The rows are wider; :class:`GridFamily` does the rest."""
