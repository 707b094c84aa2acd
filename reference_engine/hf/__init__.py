"""Every touch on transformers: loading, the two attention functions, calls into the model and its processors.

transformers' model classes run unchanged. What is ours goes in by its own doors: attention functions by name through
``AttentionInterface`` (a name without a mask function makes the decoder build no mask; a name with "flash" in it makes
a vision tower hand over all segments at once instead of looping over them), and one submodule swapped for an equal one.
:mod:`reference_engine.selftest` compares packed and plain forward at every load.

Tokenizers are :mod:`reference_engine.tokenizer`'s. No other package imports transformers; what needs its classes takes
the name from here.
"""

from reference_engine.hf.library import transformers
from reference_engine.hf.loading import Checkpoint, Description, Geometry, describe_checkpoint, load_checkpoint
from reference_engine.hf.model import Features, Model
from reference_engine.hf.processors import PatchProcessor, Processors, load_image_processor, load_processor

__all__ = [
    "Checkpoint", "Description", "Features", "Geometry", "Model", "PatchProcessor", "Processors",
    "describe_checkpoint", "load_checkpoint", "load_image_processor", "load_processor", "transformers",
]  # fmt: skip
