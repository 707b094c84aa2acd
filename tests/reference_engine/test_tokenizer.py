"""A slow tokenizer's text is the same either way, and an engine without a tokenizer says what it cannot do."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from harness.workloads.tiktoken_vocabulary import SPECIAL, write_checkpoint
from reference_engine import ConfigError, Engine, EngineConfig, Request, RequestError, SamplingParams
from reference_engine.faults import plant
from reference_engine.tiktoken_tokenizer import VOCABULARY, TiktokenTokenizer, write_ranks
from reference_engine.tokenizer import IdsOnly, TextCodec, load_codec, load_tokenizer

TOKENS = 900
END, IMAGE = TOKENS, TOKENS + 1


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> TiktokenTokenizer:
    pytest.importorskip("tiktoken")
    return load_tokenizer(write_checkpoint(tmp_path_factory.mktemp("tiktoken"), TOKENS))


def incremental(codec: TextCodec, ids: list[int]) -> str:
    text = codec.detokenizer()
    return "".join([text.push(i) for i in ids]) + text.finish()


def test_native_and_slow_decode_agree_on_all_ids(slow: TiktokenTokenizer) -> None:
    """Special ids alone, adjacent, and inside a character (sglang#25309); ids past the vocabulary."""
    native, off = TextCodec(slow, 1000), TextCodec(slow, 1000, native_decode=False)

    @settings(deadline=None, max_examples=200)
    @example([END, IMAGE, IMAGE])
    @example([0xC3, END, 0xA9, IMAGE])
    @given(st.lists(st.integers(0, 950) | st.sampled_from([END, IMAGE, 0xE5, 0x9B, 0xBE, 0xFF]), max_size=40))
    def same(ids: list[int]) -> None:
        assert native.text(ids) == off.text(ids) == incremental(native, ids) == incremental(off, ids)
        assert native.decode(ids) == off.decode(ids)

    same()
    assert native.text([97, END, 98]) == "ab"
    assert native.decode([97, END, 98]) == f"a{SPECIAL[0]}b"


def test_special_ids_that_are_not_filtered_show(slow: TiktokenTokenizer) -> None:
    wrong = TextCodec(slow, 1000, detokenizer=plant("F6-11").detokenizer)
    assert incremental(wrong, [97, IMAGE, 98]) == f"a{SPECIAL[1]}b"


def test_native_decode_says_whether_it_acted(slow: TiktokenTokenizer, bench: Any) -> None:
    assert TextCodec(slow, 1000).native_decode()[0]
    assert "special ids were filtered" in TextCodec(slow, 1000).native_decode()[1]
    assert "token by token" in TextCodec(slow, 1000, native_decode=False).native_decode()[1]
    acted, reason = bench.engine().codec.native_decode()
    assert not acted
    assert "is a fast tokenizer" in reason


def test_a_slow_tokenizer_encodes_and_comes_back_from_its_directory(slow: TiktokenTokenizer, tmp_path: Path) -> None:
    codec = TextCodec(slow, 1000)
    assert not slow.is_fast
    for text in ("the image, naïve 图像 🙂", "", f"a{SPECIAL[0]}b{SPECIAL[1]}"):
        ids = codec.encode(text)
        assert codec.decode(ids) == text
        assert codec.encode_plain(text) == [i for i in codec.encode_plain(text) if i < TOKENS]
    assert codec.encode(f"a{SPECIAL[0]}") == [97, END]
    slow.save_pretrained(tmp_path)
    again = load_tokenizer(tmp_path)
    assert again.get_vocab() == slow.get_vocab()
    assert TextCodec(again, 1000).spellings == codec.spellings


def test_a_damaged_vocabulary_names_the_line(tmp_path: Path) -> None:
    pytest.importorskip("tiktoken")
    write_checkpoint(tmp_path, TOKENS)
    lines = (tmp_path / VOCABULARY).read_bytes().splitlines()
    (tmp_path / VOCABULARY).write_bytes(b"\n".join([*lines[:3], b"no rank", *lines[4:]]))
    with pytest.raises(ConfigError, match=r"tiktoken\.model, line 4 is not 'base64 rank'"):
        load_codec(tmp_path, 1000, EngineConfig())
    with pytest.raises(ConfigError, match=r"the tokenizer of .* cannot be loaded"):
        load_codec(tmp_path / "nowhere", 1000, EngineConfig())


@pytest.fixture(scope="module")
def slow_checkpoint(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test model with the same vocabulary written as ``tiktoken.model``: what a Kimi checkpoint looks like."""
    pytest.importorskip("tiktoken")
    path = tmp_path_factory.mktemp("slow") / "model"
    leave = shutil.ignore_patterns("tokenizer*.json", "merges.txt", "vocab.json")
    shutil.copytree(bench.path, path, ignore=leave)
    codec = bench.engine().codec
    first = min(codec.special.values())
    write_ranks(path / VOCABULARY, codec.spellings.of[:first])
    added = {str(i): {"content": token, "special": True} for token, i in codec.special.items()}
    settings = {"added_tokens_decoder": added, "additional_special_tokens": list(codec.special)}
    (path / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "TiktokenTokenizer"}))
    return path


def test_an_engine_on_a_slow_tokenizer_says_the_same(bench: Any, slow_checkpoint: Path, make_cases: Any) -> None:
    fast = bench.engine()
    slow = [
        Engine(EngineConfig(model=str(slow_checkpoint), num_blocks=512, native_decode=on, avoid_retokenize=on))
        for on in (True, False)
    ]
    for i, case in enumerate(make_cases(4, seed=61)):
        ids = fast.codec.encode(case.text)
        sampling = SamplingParams(max_new_tokens=6, ignore_eos=True)
        request = case.request(str(i), text=None, input_ids=ids, sampling=sampling, want_evidence=True)
        [expected] = fast.generate([request])
        for engine, on in zip(slow, (True, False), strict=True):
            [answer] = engine.generate([request])
            assert (answer.text, answer.output_ids) == (expected.text, expected.output_ids)
            assert answer.text == fast.codec.text(answer.output_ids)
            toggle = answer.evidence.toggles["native_decode"]
            assert (toggle["setting"], toggle["acted"]) == (on, True)


@pytest.fixture(scope="module")
def ids_only(bench: Any) -> Engine:
    return bench.engine(skip_tokenizer_init=True)


def test_without_a_tokenizer_ids_run_the_same(bench: Any, ids_only: Engine, make_cases: Any) -> None:
    engine = bench.engine()
    rng = random.Random(0)
    for i, case in enumerate(make_cases(6, seed=11)):
        ids = engine.codec.encode(case.text)
        stop = (rng.randrange(engine.geometry.vocabulary),)
        sampling = SamplingParams(max_new_tokens=case.new_tokens, stop_token_ids=stop)
        requests = [
            case.request(str(i), text=None, input_ids=ids, sampling=sampling, want_evidence=True) for _ in range(2)
        ]
        [expected], [answer] = engine.generate(requests[:1]), ids_only.generate(requests[1:])
        assert (answer.output_ids, answer.logprobs) == (expected.output_ids, expected.logprobs)
        assert (answer.text, answer.finish_reason) == ("", expected.finish_reason)
        assert answer.evidence is not None
        assert answer.evidence.toggles["skip_tokenizer_init"]["acted"]
    assert ids_only.tokenizer is None
    assert isinstance(ids_only.codec, IdsOnly)


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (Request("a", text="hello"), "text"),
        (Request("a", input_ids=[5], sampling=SamplingParams(stop=("x",))), "sampling_params.stop"),
    ],
)
def test_what_needs_text_is_refused_by_name(ids_only: Engine, request_: Request, field: str) -> None:
    with pytest.raises(RequestError, match="needs a tokenizer") as caught:
        ids_only.prepare(request_)
    assert caught.value.field == field
    assert caught.value.status == 400


def test_going_through_text_is_refused_by_name(bench: Any, picture: Any) -> None:
    engine = bench.engine(skip_tokenizer_init=True, avoid_retokenize=False)
    request = Request("a", input_ids=[5, engine.family.placeholders["image"]], images=[picture((56, 56), 0)])
    with pytest.raises(RequestError, match="set avoid_retokenize on") as caught:
        engine.prepare(request)
    assert caught.value.field == "input_ids"
