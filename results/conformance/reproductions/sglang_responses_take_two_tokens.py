"""SGLang 0.5.23: /v1/responses answers two tokens fewer than max_output_tokens asks for, and refuses one."""

from sglang.srt.entrypoints.openai.protocol import ResponsesRequest

for asked in (100, 1):
    request = ResponsesRequest(model="m", input="hi", max_output_tokens=asked)
    got = request.to_sampling_params(default_max_tokens=1000)["max_new_tokens"]
    assert got == asked, f"max_output_tokens={asked} became max_new_tokens={got}"
