"""From a request to ids as run, compared with transformers' own processor; and the path that tokenizes again."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

import pytest
import torch

from reference_engine import Request, RequestError
from reference_engine.multimodal.placeholders import resolve_image_token_counts

IMAGE = "<|vision_start|><|image_pad|><|vision_end|>"


@pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="AutoProcessor of Qwen2.5-VL needs torchvision"
)
def test_equal_to_the_real_processor(bench: Any, make_cases: Any) -> None:
    from reference_engine.hf import load_processor

    processor, engine = load_processor(bench.path), bench.engine()
    for i, case in enumerate(make_cases(60, seed=2)):
        made = processor(text=[case.text], images=case.images or None, return_tensors="pt")
        prompt = engine.prepare(case.request(str(i)))
        assert prompt.ids == made["input_ids"][0].tolist()
        if case.images:
            assert torch.equal(torch.cat([item.pixels["pixel_values"] for item in prompt.items]), made["pixel_values"])
            assert [list(g) for item in prompt.items for g in item.grids] == made["image_grid_thw"].tolist()


@pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="AutoProcessor of Qwen2.5-VL needs torchvision"
)
def test_counts_equal_the_real_processors(bench: Any) -> None:
    from reference_engine.hf import load_processor

    processor, family = load_processor(bench.path), bench.engine().family
    sizes = [(w, h) for w in range(1, 420, 13) for h in range(1, 420, 17) if max(w, h) / min(w, h) <= 200]
    counts = processor._get_num_multimodal_tokens(image_sizes=[(h, w) for w, h in sizes])["num_image_tokens"]
    assert resolve_image_token_counts(family, sizes) == [[count] for count in counts]


def test_text_and_its_ids_make_the_same_prompt(bench: Any, make_cases: Any) -> None:
    engine = bench.engine()
    for case in make_cases(30, seed=4):
        by_text = engine.prepare(case.request("t"))
        by_ids = engine.prepare(case.request("i", text=None, input_ids=engine.tokenizer(case.text)["input_ids"]))
        expanded = engine.prepare(case.request("e", text=None, input_ids=by_text.ids))
        assert by_text.ids == by_ids.ids == expanded.ids
        assert [i.spans for i in by_text.items] == [i.spans for i in by_ids.items] == [i.spans for i in expanded.items]


def test_tokenizing_again_drifts_and_expanding_in_ids_does_not(bench: Any, picture: Any) -> None:
    tokenizer = bench.oracle.tokenizer
    split = [*tokenizer(f"{IMAGE}D")["input_ids"], *tokenizer("escribe the image")["input_ids"]]
    merged = tokenizer(f"{IMAGE}Describe the image")["input_ids"]
    assert len(split) > len(merged)
    images = [picture((56, 84), 0)]
    kept = bench.engine().prepare(Request("k", input_ids=split, images=images))
    drifted = bench.engine(avoid_retokenize=False).prepare(Request("d", input_ids=split, images=images))
    assert kept.ids[:1] + kept.ids[7:] == split[:1] + split[2:]
    assert drifted.ids[:1] + drifted.ids[7:] == merged[:1] + merged[2:]
    assert len(kept.ids) - len(drifted.ids) == len(split) - len(merged)
    text_only = bench.engine(avoid_retokenize=False).prepare(Request("t", input_ids=split[3:]))
    assert text_only.ids == split[3:], "without images there is nothing to expand, so nothing is tokenized again"


def test_stale_expansions_fall_back_and_say_so(bench: Any, picture: Any, caplog: Any) -> None:
    """Expanded by a client that counts otherwise: a run of the wrong length is one image when tokenized again."""
    engine, image_id = bench.engine(), bench.oracle.model.config.image_token_id
    start, end = (bench.oracle.tokenizer.convert_tokens_to_ids(t) for t in ("<|vision_start|>", "<|vision_end|>"))
    ids = [5, start, *[image_id] * 11, end, 6]
    with caplog.at_level(logging.WARNING):
        prompt = engine.prepare(Request("s", input_ids=ids, images=[picture((56, 84), 0)]))
    assert prompt.items[0].spans == [(2, 7)]
    assert prompt.placement.path == "retokenized"
    assert "holds 11 image placeholder(s) but the request has 1 image(s)" in prompt.placement.reason
    assert "decoded and tokenized again" in caplog.text


def test_letters_that_spell_a_placeholder_never_become_one(bench: Any, picture: Any) -> None:
    spelled = [i for piece in ("<|image", "_pad|>") for i in bench.oracle.tokenizer(piece)["input_ids"]]
    for avoid in (True, False):
        with pytest.raises(RequestError) as caught:
            bench.engine(avoid_retokenize=avoid).prepare(
                Request("l", input_ids=[5, *spelled], images=[picture((56, 56), 0)])
            )
        assert caught.value.status == 422
        assert "holds 0 image placeholder(s) but the request has 1 image(s)" in caught.value.message
