"""transformers 5.23.0: batch_decode of no sequences answers one text."""

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"a": 0}, [])))
assert tokenizer.batch_decode([]) == [], tokenizer.batch_decode([])
