"""vLLM 0.32.0: what an answer holds of an unfinished or invalid character at its end is never told, in no mode."""

from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast
from vllm.sampling_params import SamplingParams
from vllm.v1.engine import EngineCoreRequest
from vllm.v1.engine.detokenizer import IncrementalDetokenizer

letters = [chr(256 + byte - 127 + 33) if 127 <= byte <= 160 else chr(byte) for byte in range(33, 256) if byte != 173]
plain = Tokenizer(models.BPE({letter: k for k, letter in enumerate(letters)}, []))
plain.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain)
ids = [tokenizer.convert_tokens_to_ids(letter) for letter in ("A", "ÿ", "ÿ", "ÿ")]  # A, and three bytes 0xFF
request = EngineCoreRequest("a", [], None, SamplingParams(), None, 0.0, None, None, None)
text = IncrementalDetokenizer.from_new_request(tokenizer, request)
text.update(ids, False)
said = text.get_next_output_text(True, False)
assert said == tokenizer.decode(ids), (said, tokenizer.decode(ids))
