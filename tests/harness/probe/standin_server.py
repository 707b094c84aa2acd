"""A small OpenAI-compatible server without a model: its answers are made from a digest of what it was sent. Each flag
takes a feature away, or breaks one thing in the way that servers have been seen to.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image, ImageOps

WORDS = [*"the a of and to in red blue green one two three box line dog cat".split()]  # noqa: SIM905
CELL = 28
CACHE: dict[bytes, bytes] = {}


@dataclass(frozen=True)
class Flags:
    key: str = ""
    hangs: bool = False
    dies_after: int = 0
    is_openai: bool = True
    logprobs: bool = True
    images: bool = True
    images_status: int = 400
    usage: bool = True
    streams: bool = True
    choices: bool = True
    drawn_choices: bool = True
    # What is wrong with it.
    blind: bool = False
    sorts_images: bool = False
    keys_of_first_bytes: bool = False
    keys_without_shape: bool = False
    remembers_first_image: bool = False
    refuses_long: bool = False
    keeps_file_sideways: bool = False
    counts_transposed: bool = False
    extra_per_pair: int = 0
    stream_loses_last: bool = False
    leaks_stop: bool = False
    sums_above_one: bool = False
    forgets_lines: bool = False
    ignores_seed: bool = False
    null_finish: bool = False
    one_more_token: bool = False
    fails_on_bad_image: bool = False
    noisy_in_crowds: bool = False
    choices_differ: bool = False
    dies_on_image: bool = False
    odd_events: bool = False
    null_choices: bool = False
    odd_pages: bool = False


class Failure(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def picture_of(uri: str, flags: Flags) -> tuple[bytes, bytes, tuple[int, int]]:
    try:
        image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        image.load()
    except (OSError, SyntaxError) as error:
        raise Failure(500 if flags.fails_on_bad_image else 400, f"image: {error}") from None
    image = (image if flags.keeps_file_sideways else ImageOps.exif_transpose(image)).convert("RGB")
    raw = image.tobytes()
    seen = bytes(f"{image.size}", "ascii") + raw[9 : 64 if flags.keys_of_first_bytes else None]
    # The first pixels make no difference, as good as none; but a cache knows it.
    return CACHE.setdefault(raw, seen) if flags.keys_without_shape else seen, raw, image.size


class Prompt:
    """What would be run: a digest and a count."""

    def __init__(self, messages: list[dict[str, Any]], flags: Flags) -> None:
        if not messages:
            raise Failure(400, "messages: there are none")
        self.tokens, parts = 3, []
        pictures: list[bytes] = []
        first = b""
        for message in messages:
            content = message["content"]
            for part in [{"type": "text", "text": content}] if isinstance(content, str) else content:
                if part["type"] == "text":
                    text = part["text"]
                    if flags.forgets_lines and message["role"] == "assistant":
                        text = text.splitlines()[-1]
                    self.tokens += len(text.split())
                    parts.append(text.encode())
                    continue
                if not flags.images:
                    raise Failure(flags.images_status, "images are not supported")
                data, raw, (width, height) = picture_of(part["image_url"]["url"], flags)
                self.tokens += math.ceil(width / CELL) * math.ceil(height / CELL) + 2
                first = first or raw
                pictures.append(b"" if flags.blind else data)
                parts.append(b"" if flags.sorts_images else pictures[-1])
        if flags.refuses_long and pictures and self.tokens > 200:
            raise Failure(400, "the prompt is too long")
        if flags.remembers_first_image and len(pictures) > 1 and first in CACHE:
            parts, pictures = [part for part in parts if part != pictures[-1]], pictures[:-1]
        CACHE.setdefault(first, b"")
        self.tokens += flags.extra_per_pair * (len(pictures) > 1 and len(set(map(len, pictures))) == 1)
        self.digest = hashlib.sha256(b"|".join([*parts, *sorted(pictures)])).hexdigest()


def tokens_of(digest: str, count: int, draw: str = "") -> Iterator[tuple[str, float, dict[str, float]]]:
    """Token, log-probability, the likeliest five."""
    for place in range(count):
        raw = hashlib.sha256(f"{digest}{place}".encode()).digest()
        drawn = hashlib.sha256(f"{draw}{digest}{place}".encode()).digest()[0] if draw else raw[0]
        names = [f" {WORDS[(raw[0] + i) % 16]}" for i in range(5)]
        weights = [3.0 + raw[1] / 999, 2 + raw[2] / 999, 1 + raw[3] / 999, raw[4] / 999, raw[5] / 1999]
        total = math.log(sum(math.exp(w) for w in weights) * 1.1)
        tops = {name: weight - total for name, weight in zip(names, weights, strict=True)}
        token = f" {WORDS[drawn % 16]}" if draw else names[0]
        yield token, tops.get(token, -5.0), tops


class Handler(BaseHTTPRequestHandler):
    flags: Flags
    running = 0
    posts = 0
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16

    def log_message(self, *_: object) -> None: ...

    def do_GET(self) -> None:
        if self.flags.odd_pages:
            return self._send(200, {"data": 7, "versions": [7]})
        if self.flags.is_openai and self._allowed() and self.path == "/v1/models":
            return self._send(200, {"data": [{"id": "folder/of/stand-in", "owned_by": "tests"}]})
        return self._send(404 if self._allowed() else 401, {"error": {"message": "not here"}})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        Handler.posts += 1
        if Handler.posts == self.flags.dies_after or (self.flags.dies_on_image and "image_url" in str(body)):
            self.server.shutdown()
            self.server.server_close()
            self.close_connection = True
        if self.flags.hangs:
            time.sleep(3)
        if not self._allowed():
            return self._send(401, {"error": {"message": "a key is needed"}})
        if self.path != "/v1/chat/completions" or not self.flags.is_openai:
            return self._send(404, "<html>nothing here</html>")
        Handler.running += 1
        try:
            answer = self._answer(body)
        except Failure as failure:
            return self._send(failure.status, {"error": {"message": str(failure)}})
        finally:
            Handler.running -= 1
        return self._stream(answer) if body.get("stream") else self._send(200, answer)

    def _allowed(self) -> bool:
        return not self.flags.key or self.headers.get("authorization") == f"Bearer {self.flags.key}"

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        flags, prompt, length = self.flags, Prompt(body["messages"], self.flags), body.get("max_tokens", 16)
        if length < 1 or body.get("logit_bias") or (body.get("stream") and not flags.streams):
            raise Failure(400, "not taken")
        if body.get("n", 1) > 1 and not (flags.drawn_choices if body["temperature"] else flags.choices):
            raise Failure(400, "n: one choice only")
        digest = prompt.digest
        if flags.noisy_in_crowds:
            time.sleep(0.01)
            digest += "x" * (Handler.running > 1)
        choices = [self._choice(body, digest, length, i) for i in range(body.get("n", 1))]
        made = sum(choice.pop("made") for choice in choices)
        usage = {"prompt_tokens": prompt.tokens, "completion_tokens": made, "total_tokens": prompt.tokens + made}
        if flags.null_choices and body.get("n"):
            choices = [None]
        return {"object": "chat.completion", "choices": choices} | ({"usage": usage} if flags.usage else {})

    def _choice(self, body: dict[str, Any], digest: str, length: int, index: int) -> dict[str, Any]:
        flags = self.flags
        draw = f"{time.time_ns() if flags.ignores_seed else body.get('seed')}{index}" if body["temperature"] else ""
        made = list(tokens_of(digest + str(index) * flags.choices_differ, length + flags.one_more_token, draw))
        text, finish = "".join(token for token, _, _ in made), "length"
        for stop in [body["stop"]] if isinstance(body.get("stop"), str) else body.get("stop") or ():
            if stop in text:
                text, finish = text[: text.index(stop) + flags.leaks_stop], "stop"
                made = made[: max(1, len(text.split()))]
        scale = math.log(1.5) if flags.sums_above_one else 0.0
        content = [
            {"token": token, "logprob": value + scale,
             "top_logprobs": [{"token": name, "logprob": one + scale} for name, one in tops.items()]}
            for token, value, tops in made
        ]  # fmt: skip
        wanted = body.get("logprobs") and flags.logprobs
        return {
            "index": index, "message": {"role": "assistant", "content": text}, "made": len(made),
            "finish_reason": None if flags.null_finish else finish,
            "logprobs": {"content": content} if wanted else None,
        }  # fmt: skip

    def _stream(self, answer: dict[str, Any]) -> None:
        [choice] = answer["choices"]
        content = (choice["logprobs"] or {}).get("content")
        pieces = [f" {word}" for word in choice["message"]["content"].split(" ")[1:]]
        kept = pieces[:-1] if self.flags.stream_loses_last else pieces
        events: list[Any] = []
        for i, piece in enumerate(kept):
            logprobs = {"content": content[i : i + 1]} if content else None
            events.append({"choices": [{"index": 0, "delta": {"content": piece}, "logprobs": logprobs}]})
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
        events.append({"choices": [], "usage": answer.get("usage")})
        events += [7] * self.flags.odd_events
        lines = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"
        self._send(200, lines, "text/event-stream")

    def _send(self, status: int, body: Any, kind: str = "application/json") -> None:
        raw = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


@contextmanager
def standing_in(**flags: Any) -> Iterator[str]:
    """The address of such a server."""
    CACHE.clear()
    Handler.posts = 0
    handler = type("Flagged", (Handler,), {"flags": Flags(**flags)})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
