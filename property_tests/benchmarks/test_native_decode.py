"""Text of a slow tokenizer: its own decoder against transformers' options (sglang#25309), 80,000 ids of 150,000.

``pytest property_tests/benchmarks/test_native_decode.py --benchmark-enable -n0`` measures; a default run only checks
that both give the same text, on a small vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.workloads.tiktoken_vocabulary import make_ids, write_checkpoint
from reference_engine.tokenizer import TextCodec, load_tokenizer

Benchmark = Callable[..., Any]
Decoded = tuple[Any, list[int]]


@pytest.fixture(scope="module")
def decoded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Decoded:
    pytest.importorskip("tiktoken")
    tokens, count = (150_000, 80_000) if request.config.getoption("--benchmark-enable") else (2_000, 500)
    path = write_checkpoint(tmp_path_factory.mktemp("tiktoken"), tokens)
    return load_tokenizer(path), make_ids(tokens, count)


@pytest.mark.benchmark(group="whole answers")
@pytest.mark.parametrize("native", [True, False])
def test_whole(benchmark: Benchmark, decoded: Decoded, native: bool) -> None:
    tokenizer, ids = decoded
    other = TextCodec(tokenizer, len(tokenizer), native_decode=not native)
    text = benchmark(TextCodec(tokenizer, len(tokenizer), native_decode=native).text, ids)
    assert text == other.text(ids)


@pytest.mark.benchmark(group="id by id")
@pytest.mark.parametrize("native", [True, False])
def test_incremental(benchmark: Benchmark, decoded: Decoded, native: bool) -> None:
    tokenizer, ids = decoded
    codec = TextCodec(tokenizer, len(tokenizer), native_decode=native)

    def stream() -> str:
        text = codec.detokenizer()
        return "".join([text.push(i) for i in ids]) + text.finish()

    assert benchmark(stream) == codec.text(ids)
