"""SGLang 0.5.23: ids whose placeholders are expanded already (as a rollout returns them) are refused."""

from sglang.srt.multimodal.processors.base_processor import BaseMultimodalProcessor

once = BaseMultimodalProcessor._expand_input_ids([1, 7, 2], [3], 7)
assert BaseMultimodalProcessor._expand_input_ids(once, [3], 7) == once
