"""A processor's output over HTTP: read exactly, refused by name, answered as the images are (sglang#26116)."""

from __future__ import annotations

import base64
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from reference_engine import Engine, EngineConfig, RequestError
from reference_engine.hf import load_processor
from reference_engine.server.protocol import ProcessorOutputBody, TensorBody
from reference_engine.server.tensors import read_processor_output, read_tensor

SLOT = "<|vision_start|><|image_pad|><|vision_end|>"


def written(tensor: torch.Tensor) -> dict[str, Any]:
    data = base64.b64encode(tensor.contiguous().view(torch.uint8).numpy().tobytes()).decode()
    return {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape), "data": data}


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32", "int64"])
def test_tensors_come_back_as_they_were(dtype: str) -> None:
    tensor = (torch.arange(24).reshape(2, 3, 4) - 7).to(getattr(torch, dtype))
    read = read_tensor(TensorBody(**written(tensor)), "t")
    assert read.dtype == tensor.dtype
    assert torch.equal(read, tensor)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"tensors": {"a": written(torch.zeros(2)) | {"shape": [3]}}}, "p.tensors.a", "8 bytes; float32 of shape"),
        ({"tensors": {"a": written(torch.zeros(2)) | {"data": "?"}}}, "p.tensors.a", "not base64"),
        ({"mrope_positions": [[1, 2], [1], [1, 2]]}, "p.mrope_positions", "rows of 2, 1, 2 numbers"),
    ],
)
def test_what_cannot_be_read_is_named(change: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        read_processor_output(ProcessorOutputBody(**({"input_ids": [1]} | change)), "p")
    assert caught.value.field == field


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="the whole processor needs torchvision")
def test_it_is_answered_as_the_images_are(model: Path, serve: Callable[..., Any], uri: Any) -> None:
    text, image = f"{SLOT}image1 row3 read", Image.new("RGB", (365, 211), (20, 90, 200))
    made = load_processor(model)(text=[text], images=[image], return_tensors="pt")
    tensors = {name: written(made[name]) for name in ("pixel_values", "image_grid_thw")}
    sent = {"input_ids": made["input_ids"][0].tolist(), "tensors": tensors}
    asked = {"sampling_params": {"max_new_tokens": 4}, "return_evidence": True}
    with serve(Engine(EngineConfig(model=str(model), num_blocks=128))) as client:
        plain = client.post("/generate", json={"text": text, "image_data": uri(image)} | asked).json()
        ways = [
            {"processor_output": sent},
            {"text": text, "processor_output": sent},
            {"input_ids": sent["input_ids"], "image_data": uri(image), "processor_output": sent},
            {"text": [text], "image_data": [uri(image)], "processor_output": [sent]},
        ]
        for way in ways:
            answer = client.post("/generate", json=way | asked).json()
            answer = answer[0] if isinstance(answer, list) else answer
            assert answer["output_ids"] == plain["output_ids"]
            assert answer["meta_info"]["evidence"]["toggles"]["reuse_processor_output"]["acted"]
        part = {"type": "image_url", "image_url": {"url": uri(image)}}
        body = {"messages": [{"role": "user", "content": [part]}], "input_ids": sent["input_ids"], "max_tokens": 4}
        chat = client.post("/v1/chat/completions", json=body | {"processor_output": sent, "return_meta_info": True})
        assert chat.json()["choices"][0]["meta_info"]["output_ids"] == plain["output_ids"]
        wrong = {"processor_output": sent | {"input_ids": [5, *sent["input_ids"]]}, "text": text}
        refused = client.post("/generate", json=wrong)
        assert (refused.status_code, refused.json()["error"]["param"]) == (422, "processor_output")
        long = client.post("/generate", json={"processor_output": {"input_ids": [5] * 5000}})
        assert (long.status_code, long.json()["error"]["param"]) == (413, "processor_output.input_ids")
