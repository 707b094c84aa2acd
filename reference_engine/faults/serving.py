"""Faults of the HTTP border."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reference_engine.faults.catalogue import Fault


def render_over_ids(body: Any, prompts: Any) -> list[int]:
    """The messages win: the caller's ids are dropped as soon as there is something to render."""
    return prompts.ids(body.messages) if body.messages else list(body.input_ids)


def nulls_and_all(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields that were not asked for are there, as null."""
    return dict(fields)


FAULTS = (
    Fault(
        id="F3-03",
        reference="sglang#26117 (and sglang#23751: input_ids of a chat call)",
        summary="ids sent beside messages are lost: the messages are rendered and tokenized again",
        invariant="6: ids run == ids sent, each placeholder expanded once",
        replaces={"chat_ids": render_over_ids},
        acts_when="a chat call has input_ids and messages",
    ),
    Fault(
        id="null-fields",
        reference="sglang#23751 (fields absent unless asked for)",
        summary="fields of an answer that were not asked for are there as null",
        invariant="9: every declared request field survives, and no other appears",
        replaces={"given": nulls_and_all},
        acts_when="a chat call asks for no ids",
    ),
)
