"""Errors a caller can act on. Every message names the field and the value; none carries image bytes or secrets."""

from __future__ import annotations


class RequestError(ValueError):
    """One request is wrong or cannot be served; the others are untouched.

    ``field`` is the request field as the caller spelled it (``input_ids[3]``, ``image_data[0]``), ``status`` the
    HTTP status a server answers with: 400 for bad input, 413 for too large, 422 for a placeholder/image mismatch,
    500 only for :class:`EncoderMismatch`, which is the engine's own fault.
    """

    def __init__(self, field: str, message: str, *, status: int = 400) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
        self.status = status


class EncoderMismatch(RequestError):
    """The vision encoder gave an item another number of rows than its spans hold (sglang#26442).

    Fails that request alone; rows are never padded, truncated or scaled to fit.
    """

    def __init__(
        self, item: int, spans: list[tuple[int, int]], expected: int, rows: int, *, modality: str = "image"
    ) -> None:
        super().__init__(
            f"{modality}_data[{item}]",
            f"encoder returned {rows} rows but the item's spans {spans} hold {expected} placeholders",
            status=500,
        )
        self.item, self.spans, self.expected, self.rows = item, spans, expected, rows


class ConfigError(ValueError):
    """A configuration value is unknown or impossible; the message lists what is allowed."""
