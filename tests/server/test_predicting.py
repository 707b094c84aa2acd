"""``POST /predict`` takes any body of the other endpoints and says what they would run."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from PIL import Image

SLOT = "<|vision_start|><|image_pad|><|vision_end|>"
SIZES = [(365, 211), (153, 174)]


def bodies(uri: Any) -> list[tuple[str, dict[str, Any]]]:
    images = [uri(Image.new("RGB", size)) for size in SIZES]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in images]
    chat = {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": "compare"}]}], "max_tokens": 1}
    sampling = {"sampling_params": {"max_new_tokens": 1}}
    return [
        ("/generate", {"text": f"{SLOT}{SLOT}compare", "image_data": images} | sampling),
        ("/generate", {"input_ids": [5, 6, 7]} | sampling),
        ("/v1/chat/completions", chat),
        ("/v1/chat/completions", chat | {"input_ids": [5, 1022, 6, 1022]}),
    ]


@pytest.mark.parametrize("which", range(4))
def test_it_says_what_the_endpoint_runs(real: httpx2.Client, uri: Any, which: int) -> None:
    path, body = bodies(uri)[which]
    answer = real.post(path, json=body | {"return_evidence": True}).json()
    evidence = answer.get("assay_evidence") or answer["meta_info"]["evidence"]
    found = real.post("/predict", json=body).json()
    assert found["prompt_ids"] == evidence["prompt_ids"]
    assert found["positions_digest"] == evidence["positions_digest"]
    assert [item["spans"] for item in found["items"]] == [item["spans"] for item in evidence["items"]]
    tokens = answer["usage"] if "usage" in answer else answer["meta_info"]
    assert found["usage"]["prompt_tokens"] == tokens["prompt_tokens"]
    assert "positions" not in found


def test_sizes_stand_for_images(real: httpx2.Client, uri: Any) -> None:
    _, native = bodies(uri)[0]
    _, chat = bodies(uri)[2]
    for body in (native, chat):
        expected = real.post("/predict", json=body | {"return_positions": True}).json()
        sized = body | {"image_sizes": [list(size) for size in SIZES], "return_positions": True}
        assert real.post("/predict", json=sized).json() == expected
    del native["image_data"]
    alone = real.post("/predict", json=native | {"image_sizes": [list(size) for size in SIZES]}).json()
    assert alone["usage"]["prompt_tokens"] == expected["usage"]["prompt_tokens"] or alone["items"] != []


def test_a_list_of_prompts_gets_a_list(real: httpx2.Client) -> None:
    body = {"text": [f"{SLOT}a", "b"], "image_sizes": [[[56, 56]], []]}
    first, second = real.post("/predict", json=body).json()
    assert [len(found["items"]) for found in (first, second)] == [1, 0]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"text": "a", "image_sizes": [[56, 56]]}, 422, "text"),
        ({"text": SLOT, "image_sizes": [56]}, 400, "image_sizes[0]"),
        ({"text": SLOT, "image_sizes": [[56, 1.5]]}, 400, "image_sizes[0]"),
        ({"text": SLOT, "image_sizes": [[56, 56]], "image_data": ["data:,", "data:,"]}, 400, "image_sizes"),
        ({"text": ["a", "b"], "image_sizes": [[]]}, 400, "image_sizes"),
        ({"text": ["a", SLOT], "image_sizes": [[], []]}, 422, "text[1]"),
        ({"text": "a", "nonsense": 1}, 400, "nonsense"),
        ({"messages": [], "nonsense": 1}, 400, "nonsense"),
    ],
)
def test_refusals_name_the_field(real: httpx2.Client, body: dict[str, Any], status: int, param: str) -> None:
    answer = real.post("/predict", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
