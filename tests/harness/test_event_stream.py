"""Streams whose answers hold what text calls line ends, wherever they are cut: the reader, and all who read by it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.asking import ask_all, ask_streamed
from harness.differential.cases import Case
from harness.differential.wire import Wire
from harness.event_stream import data_in
from harness.launch.attached import Attached
from harness.launch.server import Server
from harness.observation import Prompt
from harness.probe.line import Line
from harness.targets.base import Launch
from harness.targets.openai import OpenAITarget

TEXT = "one\u2028two\u2029three\x85four\x0bé🙂"
EVENT = {
    "text": TEXT, "output_ids": [1], "meta_info": {"prompt_tokens": 1},
    "choices": [{"index": 0, "delta": {"content": TEXT}}],
}  # fmt: skip
STREAM = f"data: {json.dumps(EVENT, ensure_ascii=False)}\r\n\r\ndata: [DONE]\r\n\r\n".encode()


@given(
    texts=st.lists(st.text(alphabet=TEXT)),
    ends=st.sampled_from(["\n", "\r", "\r\n"]),
    last=st.booleans(),
    cuts=st.sets(st.integers(0, 300)),
)
def test_every_event_comes_whole_wherever_the_stream_is_cut(
    texts: list[str], ends: str, last: bool, cuts: set[int]
) -> None:
    lines = [line for text in texts for line in (f"data:{json.dumps(text, ensure_ascii=False)}", "", ": a comment")]
    stream = (ends.join([*lines, "data: [DONE]"]) + ends * last).encode()
    places = [0, *sorted(cuts), len(stream)]
    pieces = [stream[start:end] for start, end in pairwise(places)]
    assert [json.loads(data) for data in data_in(pieces)] == texts


def test_data_comes_with_the_piece_that_completes_it() -> None:
    sent: list[bytes] = []

    def pieces() -> Iterator[bytes]:
        for piece in (b"data: 1\n\ndat", b"a: 2", b"\n", b"data: 3"):
            sent.append(piece)
            yield piece

    assert [(data, len(sent)) for data in data_in(pieces())] == [(b"1", 1), (b"2", 3), (b"3", 4)]


class Streaming(BaseHTTPRequestHandler):
    """Sends the one stream in pieces that cut its characters."""

    def log_message(self, *_: object) -> None: ...

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for start in range(0, len(STREAM), 7):
            self.wfile.write(STREAM[start : start + 7])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Streaming)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def asked_by_a_job(url: str) -> str:
    server = Server("one", OpenAITarget(), Launch("a model", {}), Attached("one", url, {}))
    [seen] = ask_all(server, [Prompt("a", (1, 2), (), "read", "33")], concurrency=1, ask=ask_streamed)
    assert seen.ok, seen.error
    return seen.text


def asked_by_the_differential_suite(url: str) -> str:
    wire = Wire(url)
    seen = wire.stream(Case("a", lambda: {"text": "read"}))
    wire.close()
    assert seen.status == 200, seen
    return seen.choices[0].text


def asked_by_the_probe(url: str) -> str:
    line = Line(url, key=None, requests=1, seconds=10, time_limit=10)
    answer = line.post("/v1/chat/completions", {"stream": True})
    line.close()
    [event] = answer.events
    text: str = event["text"]
    return text


@pytest.mark.parametrize("ask", [asked_by_a_job, asked_by_the_differential_suite, asked_by_the_probe])
def test_an_answer_may_hold_what_text_calls_a_line_end(ask: Callable[[str], str], url: str) -> None:
    assert ask(url) == TEXT
