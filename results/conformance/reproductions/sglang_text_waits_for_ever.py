"""SGLang 0.5.23: while bytes come that are no text (U+FFFD), a stream tells nothing of what is certain already."""

from types import SimpleNamespace

from sglang.srt.managers.detokenizer_manager import DetokenizerManager

detokenizer = object.__new__(DetokenizerManager)
detokenizer.tokenizer = SimpleNamespace(is_fast=False, decode=lambda ids: bytes(ids).decode(errors="replace"))
detokenizer.vocab_size, detokenizer.decode_status = 256, {}
detokenizer.disable_tokenizer_batch_decode = detokenizer.is_tool_call_parser_gpt_oss = False
detokenizer.tool_close_token_ids = set()
said = ""
for token in [0xFF] * 50:
    said += detokenizer._decode_batch_token_id_output(SimpleNamespace(
        rids=["a"], decoded_texts=[""], decode_ids=[[token]], read_offsets=[0], finished_reasons=[None],
        skip_special_tokens=[True], spaces_between_special_tokens=[True], no_stop_trim=[False],
    ))[0]  # fmt: skip
assert len(said) >= 49, f"{said!r} after 50 tokens; {len(detokenizer.decode_status['a'].decode_ids)} are decoded again"
