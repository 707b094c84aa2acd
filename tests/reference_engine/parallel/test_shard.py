"""Shares of a decoder, summed, are the decoder. Both ranks run in threads of this process, over gloo itself."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reference_engine import ConfigError
from reference_engine.parallel.collectives import Collectives
from reference_engine.parallel.shard import shard_layers

CPU = torch.device("cpu")


def on_both_ranks(tmp_path: Path, run: Callable[[Collectives], Any]) -> list[Any]:
    def rank(number: int) -> Any:
        collectives = Collectives(tmp_path / "meeting", number, 2, CPU)
        try:
            return run(collectives)
        finally:
            collectives.close()

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(rank, range(2)))


def plain_forward(decoder: Any, x_1TE: Tensor) -> Tensor:
    positions_31T = torch.arange(x_1TE.shape[1])[None, None].expand(3, 1, -1)
    with torch.inference_mode():
        return decoder(inputs_embeds=x_1TE, position_ids=positions_31T, use_cache=False).last_hidden_state


def test_two_shares_give_the_whole_decoders_output(lively: Any, tmp_path: Path) -> None:
    whole = lively.oracle.model.get_decoder()
    text = lively.oracle.model.config.get_text_config()
    heads = text.num_attention_heads, text.num_key_value_heads
    x_1TE = torch.randn(1, 9, text.hidden_size, generator=torch.Generator().manual_seed(0))

    def run(collectives: Collectives) -> tuple[Tensor, int]:
        share = copy.deepcopy(whole)
        shard_layers(share, heads, collectives)
        return plain_forward(share, x_1TE), sum(p.numel() for p in share.layers.parameters() if p.ndim > 1)

    outputs = on_both_ranks(tmp_path, run)
    expected = plain_forward(whole, x_1TE)
    for output, parameters in outputs:
        assert torch.allclose(output, expected, atol=1e-4, rtol=1e-4)
        assert parameters == sum(p.numel() for p in whole.layers.parameters() if p.ndim > 1) // 2
    assert torch.equal(outputs[0][0], outputs[1][0]), "both ranks go on from the same sums"


@pytest.mark.parametrize(
    ("layer", "heads", "message"),
    [
        ({"q_proj": nn.Linear(4, 6)}, (3, 1), "2 does not divide 3 heads and 1 shared"),
        ({"experts": nn.Linear(4, 6)}, (4, 2), "a layer's experts is not known"),
        ({"down_proj": nn.Linear(3, 4)}, (4, 2), "2 does not divide a width of 3"),
    ],
)
def test_what_cannot_be_shared_is_refused(layer: dict[str, nn.Module], heads: tuple[int, int], message: str) -> None:
    decoder = nn.Module()
    decoder.layers = nn.ModuleDict(layer)
    with pytest.raises(ConfigError, match=message):
        shard_layers(decoder, heads, SimpleNamespace(rank=0, ranks=2))  # type: ignore[arg-type]


def test_a_projection_stacked_of_two_is_cut_in_each() -> None:
    decoder = nn.Module()
    linear = nn.Linear(1, 8, bias=False)
    linear.weight.data[:, 0] = torch.arange(8.0)
    decoder.layers = nn.ModuleDict({"gate_up_proj": linear})
    shard_layers(decoder, (2, 2), SimpleNamespace(rank=1, ranks=2))  # type: ignore[arg-type]
    assert linear.weight[:, 0].tolist() == [2, 3, 6, 7]
