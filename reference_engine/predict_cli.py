"""``assay predict MODEL``: what any engine must run for a request, from a model's files of configuration alone.

    assay predict sentinel-qwen2.5-vl --text '<|image_pad|>read' --image 365x211
    assay predict MODEL --chat 'Describe both.' --image a.png --image 640x480 --json
    assay predict MODEL --request body.json

Exit codes: 0 predicted, 1 the request would be refused (one line says why), 2 the model or the arguments are wrong.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from reference_engine.config import EngineConfig
from reference_engine.errors import ConfigError, RequestError

REFUSED, NOT_DONE = 1, 2
_SIZE = re.compile(r"(\d+)x(\d+)")
_SHOWN_IDS = 24
_MOST_PROMPTS = 1024


def main(argv: Sequence[str] | None = None) -> int:
    try:
        options = build_parser().parse_args(argv)
    except SystemExit as ended:  # argparse has printed the help or what was wrong
        return int(ended.code or 0)
    try:
        found = _predict(options)
    except RequestError as error:
        print(f"assay predict: refused ({error.status}): {error}", file=sys.stderr)
        return REFUSED
    except (ConfigError, OSError) as error:
        print(f"assay predict: error: {error}", file=sys.stderr)
        return NOT_DONE
    print(json.dumps(found) if options.json else "\n\n".join(map(as_table, found if type(found) is list else [found])))
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="assay predict", description="What any engine must run for a request.", allow_abbrev=False
    )
    parser.add_argument("model", help="a packaged sentinel or a checkpoint directory; its weights are not read")
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--text", help="the prompt with special tokens written out, one placeholder an image")
    prompt.add_argument("--input-ids", metavar="IDS", help="numbers, separated by commas or blanks")
    prompt.add_argument("--chat", metavar="WORDS", help="one user message: the images, then these words")
    prompt.add_argument(
        "--request", type=Path, metavar="FILE", help="a JSON body as /generate or /v1/chat/completions takes it"
    )
    parser.add_argument(
        "--image", action="append", default=[], dest="images", metavar="WxH|FILE",
        help="an image by its size (width x height) or its file; repeatable, in order",
    )  # fmt: skip
    parser.add_argument("--positions", action="store_true", help="the positions too, not only their digest")
    parser.add_argument(
        "--count-again", action="store_true", help="count images by the checkpoint's own processor too (torchvision)"
    )
    parser.add_argument("--slice-rows", help="as of assay serve")
    parser.add_argument("--json", action="store_true", help="the whole prediction, on one line")
    return parser


def _predict(options: argparse.Namespace) -> Any:
    body = request_body(options)
    from reference_engine.predict import Predictor  # imports torch
    from reference_engine.server.chat import ChatPrompts
    from reference_engine.server.limits import Limits
    from reference_engine.server.predicting import answer_predict

    config = EngineConfig.from_environment(os.environ, model=options.model, slice_rows=options.slice_rows)
    predictor = Predictor(config)
    raw = json.dumps(body).encode()
    found = answer_predict(raw, predictor, ChatPrompts(predictor.codec), Limits(max_batch=_MOST_PROMPTS))
    if options.count_again:
        for one in found if isinstance(found, list) else [found]:
            items = sorted(one["items"], key=lambda item: item["item"])
            one["counted_again"] = asdict(predictor.count_again([item["size"] for item in items]))
    return found


def request_body(options: argparse.Namespace) -> dict[str, Any]:
    """The arguments as a body of ``/predict``."""
    more: dict[str, Any] = {"return_positions": True} if options.positions else {}
    if options.request is not None:
        if options.images:
            raise RequestError("--image", "the body of --request has its own; put image_sizes there")
        try:
            return json.loads(options.request.read_text()) | more
        except (ValueError, TypeError) as error:
            raise RequestError("--request", f"{options.request} is not a JSON object ({error})") from None
    sized = [_size(image) for image in options.images]
    if any(size is not None for size in sized):
        more |= {"image_sizes": [size or _size_of(image) for size, image in zip(sized, options.images, strict=True)]}
    uris = ["data:," if size else _data_uri(image) for size, image in zip(sized, options.images, strict=True)]
    if options.chat is not None:
        parts = [{"type": "image_url", "image_url": {"url": uri}} for uri in uris]
        return {"messages": [{"role": "user", "content": [*parts, {"type": "text", "text": options.chat}]}]} | more
    if options.text is not None:
        return {"text": options.text, "image_data": uris} | more
    return {"input_ids": _ids(options.input_ids), "image_data": uris} | more


def _size(image: str) -> list[int] | None:
    found = _SIZE.fullmatch(image)
    return [int(found[1]), int(found[2])] if found else None


def _size_of(image: str) -> list[int]:
    from reference_engine.multimodal.images import decode_image

    return list(decode_image(Path(image).read_bytes(), field=f"--image {image}").size)


def _data_uri(image: str) -> str:
    return f"data:image/any;base64,{base64.b64encode(Path(image).read_bytes()).decode()}"


def _ids(text: str) -> list[int]:
    try:
        return [int(part) for part in re.split(r"[\s,]+", text.strip(" [],"))]
    except ValueError as error:
        raise RequestError("--input-ids", str(error)) from None


def as_table(found: dict[str, Any]) -> str:
    """For people: the numbers first, one line an item, ids cut short."""
    ids = found["prompt_ids"]
    rest = f" ... {len(ids) - _SHOWN_IDS} more (--json has all)" if len(ids) > _SHOWN_IDS else ""
    lines = [
        f"prompt tokens   {found['usage']['prompt_tokens']}",
        f"family          {found['family']}",
        f"ids             {' '.join(map(str, ids[:_SHOWN_IDS]))}{rest}",
        f"placement       {found['placement']}",
        f"mrope delta     {found['mrope_delta']}",
        f"positions       sha256 {found['positions_digest']}",
    ]
    for row, name in zip(found.get("positions", ()), ("time", "height", "width"), strict=False):
        lines.append(f"  {name:<14}{' '.join(map(str, row))}")
    if "counted_again" in found:
        lines.append(f"counted again   {_verdict(found)}")
    if found["items"]:
        lines.append("item        size         tokens  spans (inclusive), grids (t, h, w)")
    for item in found["items"]:
        size = "x".join(map(str, item["size"]))
        grids = f"  {' '.join(map(_tuple, item['grids']))}" if item["grids"] else ""
        spans = " ".join(f"{first}-{last}" for first, last in item["spans"])
        lines.append(f"{item['modality']} {item['item']:<5} {size:<12} {sum(item['placeholders']):<7} {spans}{grids}")
    return "\n".join(lines)


def _verdict(found: dict[str, Any]) -> str:
    again = found["counted_again"]
    if again["tokens"] is None:
        return f"no: {again['how']}"
    items = sorted(found["items"], key=lambda item: item["item"])
    tokens, lengths = [sum(item["placeholders"]) for item in items], [item["length"] for item in items]
    known = again["tokens"] in (tokens, lengths)
    same = "the same" if known else f"NOT the same: {again['tokens']} instead of {tokens} (in all {lengths})"
    return f"{same}, by {again['how']}"


def _tuple(grid: Sequence[int]) -> str:
    return f"({', '.join(map(str, grid))})"
