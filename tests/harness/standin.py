"""A stand-in engine: a real HTTP server of the reference engine's wire format, without a model, that can misbehave.

It "reads" solid-coloured pictures: every band answers with one digit, its red value divided by 25. Requests that
arrive within a moment of each other share a pass, as with cross-request batching.

Run: ``python standin.py --model DIR --port 0``.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import standin_faults
from PIL import Image
from tokenizers import Tokenizer

CELL = 28
GATHER_SECONDS = 0.03


def say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--avoid-retokenize", choices=["on", "off"], default="on")
    parser.add_argument("--vit-batching", choices=["per_item", "cross_request"], default="cross_request")
    parser.add_argument("--chunked-prefill", type=int, default=0)
    parser.add_argument("--encoder-cache", choices=["on", "off"], default="on")
    parser.add_argument("--prefix-cache", choices=["on", "off"], default="on")
    parser.add_argument("--batch-invariant", choices=["on", "off"], default="off")
    parser.add_argument("--slice-rows", type=int, default=0)
    parser.add_argument("--plant", choices=["F1-01"])
    parser.add_argument("--allow-plant", action="store_true")
    # ways to misbehave
    parser.add_argument("--dies-at-start", action="store_true")
    parser.add_argument("--hangs-at-start", action="store_true")
    parser.add_argument("--dies-after", type=int, metavar="REQUESTS")
    parser.add_argument("--ignores-sigterm", action="store_true")
    parser.add_argument("--grandchild", type=Path, help="start a process that sleeps, write its id here")
    parser.add_argument("--wrong-rows", action="store_true", help="report one encoder row too few for every span")
    parser.add_argument("--drops-last-id", action="store_true", help="run prompts without their last token")
    parser.add_argument("--neighbours-count", action="store_true", help="log-probabilities depend on the batch")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before the first token")
    parser.add_argument("--delay-when", default="", help="only with this vit-batching setting")
    standin_faults.add_arguments(parser)
    return parser.parse_args(argv)


@dataclass
class Item:
    """A picture: the red digit of every cell, by band."""

    bands: list[list[int]]
    rows: list[int] = field(default_factory=list)


@dataclass
class Job:
    ids: list[int]
    items: list[Item]
    done: threading.Event = field(default_factory=threading.Event)
    batch: int = 0


def read_item(uri: str, slice_rows: int) -> Item:
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")
    rows, columns = image.height // CELL, image.width // CELL
    cells = [[image.getpixel((c * CELL + 14, r * CELL + 14))[0] // 25 for c in range(columns)] for r in range(rows)]
    step = slice_rows or rows
    return Item([[cell for row in cells[top : top + step] for cell in row] for top in range(0, rows, step)])


class Engine:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.tokenizer = Tokenizer.from_file(str(options.model / "tokenizer.json"))
        self.pad, self.start, self.end = (
            self.tokenizer.token_to_id(t) for t in ("<|image_pad|>", "<|vision_start|>", "<|vision_end|>")
        )
        self.served = 0
        self.queue: queue.Queue[Job] = queue.Queue()
        threading.Thread(target=self.encode_for_ever, daemon=True).start()

    def encode_for_ever(self) -> None:
        while True:
            batch = [self.queue.get()]
            if self.options.vit_batching == "cross_request":
                time.sleep(GATHER_SECONDS)
                while not self.queue.empty():
                    batch.append(self.queue.get())
            self.encode(batch)

    def encode(self, batch: list[Job]) -> None:
        items = [item for job in batch for item in job.items]
        rows = [cell for item in items for band in item.bands for cell in band]
        several = any(len(item.bands) > 1 for item in items)
        planted = self.options.plant == "F1-01" and self.options.vit_batching == "cross_request" and several
        for item in items:
            size = len(item.bands[0]) if planted else sum(map(len, item.bands))
            item.rows, rows = rows[:size], rows[size:]
        for job in batch:
            job.batch = len(items) if self.options.vit_batching == "cross_request" else 1
            job.done.set()

    def answer(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.served += 1
        if self.options.dies_after is not None and self.served > self.options.dies_after:
            say("RuntimeError: the stand-in was told to die")
            os._exit(3)
        ids = list(body["input_ids"])
        if self.options.avoid_retokenize == "off":
            ids = self.tokenizer.encode(
                self.tokenizer.decode(ids, skip_special_tokens=False), add_special_tokens=False
            ).ids
        if self.options.drops_last_id:
            ids = ids[:-1]
        job = Job(ids, [read_item(uri, self.options.slice_rows) for uri in body["image_data"]])
        self.queue.put(job)
        job.done.wait()
        if self.options.delay and self.options.delay_when in ("", self.options.vit_batching):
            time.sleep(self.options.delay)
        return self.finish(body, job)

    def finish(self, body: dict[str, Any], job: Job) -> tuple[int, dict[str, Any]]:
        prompt, spans = self.expand(job)
        digits = ""
        for number, (item, item_spans) in enumerate(zip(job.items, spans, strict=True)):
            needed = sum(end - start + 1 for start, end in item_spans)
            if len(item.rows) < needed:
                held = f"the item's spans {item_spans} hold {needed} placeholders"
                message = f"encoder returned {len(item.rows)} rows but {held}"
                return 500, {
                    "error": {"message": f"image_data[{number}]: {message}", "type": "engine_error", "code": 500}
                }
            first = 0
            for start, end in item_spans:
                digits += str(item.rows[first])
                first += end - start + 1
        length = body["sampling_params"]["max_new_tokens"] if body["sampling_params"]["ignore_eos"] else None
        output = (self.tokenizer.encode(digits).ids * 20)[:length] if length else self.tokenizer.encode(digits).ids
        meta = {
            "id": "x",
            "prompt_tokens": len(prompt),
            "completion_tokens": len(output),
            "finish_reason": {"type": "stop"},
        }
        if body.get("return_logprob"):
            leak = job.batch * 1e-16 if self.options.neighbours_count else 0.0
            meta["output_token_logprobs"] = [[-0.1 - leak, token, None] for token in output]
        if body.get("return_evidence"):
            meta["evidence"] = self.evidence(job, prompt, spans)
        return 200, {"text": digits, "output_ids": output, "meta_info": meta}

    def expand(self, job: Job) -> tuple[list[int], list[list[tuple[int, int]]]]:
        prompt: list[int] = []
        spans: list[list[tuple[int, int]]] = []
        for token in job.ids:
            if token != self.pad:
                prompt.append(token)
                continue
            spans.append([])
            for number, band in enumerate(job.items[len(spans) - 1].bands):
                prompt += [self.end, self.start] if number else []
                spans[-1].append((len(prompt), len(prompt) + len(band) - 1))
                prompt += [self.pad] * len(band)
        return prompt, spans

    def evidence(self, job: Job, prompt: list[int], spans: list[list[tuple[int, int]]]) -> dict[str, Any]:
        short = 1 if self.options.wrong_rows else 0
        items = [
            {
                "item": n,
                "spans": s,
                "placeholders": [b - a + 1 for a, b in s],
                "encoder_rows": [b - a + 1 - short for a, b in s],
            }
            for n, s in enumerate(spans)
        ]
        for item, job_item in zip(items, job.items, strict=True):
            item["rows_sketch"] = [
                sum((1 + place % 3) * cell for place, cell in enumerate(job_item.rows)),
                len(job_item.rows),
            ]
        toggles = {"batch_invariant": {"acted": self.options.batch_invariant == "on"}}
        return {"prompt_ids": prompt, "items": items, "toggles": toggles, "encoder_batch": job.batch}


def handler_for(engine: Engine) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: object) -> None: ...

        def reply(self, status: int, body: Any) -> None:
            payload = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def do_GET(self) -> None:
            if engine.options.unhealthy:
                self.reply(503, {"status": "loading"})
                return
            self.reply(200, {"status": "ok"} if self.path == "/health" else {"model": str(engine.options.model)})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if engine.options.then and engine.served >= engine.options.after:
                standin_faults.ANSWERS[engine.options.then](self)
                return
            status, answer = engine.answer(body)
            if status != 200 or not body.get("stream"):
                self.reply(status, answer)
                standin_faults.note(engine.options)
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Connection", "close")
            self.end_headers()
            for count in range(1, len(answer["output_ids"]) + 1):
                meta = answer["meta_info"] | {"completion_tokens": count}
                self.wfile.write(f"data: {json.dumps({'text': answer['text'], 'meta_info': meta})}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")
            self.close_connection = True

    return Handler


def main(argv: list[str]) -> None:
    options = parse(argv)
    if options.grandchild:
        sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        options.grandchild.write_text(str(sleeper.pid))
    if options.ignores_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    standin_faults.at_start(options)
    if options.dies_at_start:
        say("loading the checkpoint\nValueError: the stand-in cannot find its weights\n")
        sys.exit(7)
    if options.hangs_at_start:
        time.sleep(600)
    server = ThreadingHTTPServer((options.host, options.port), handler_for(Engine(options)))
    server.daemon_threads = True
    say(f"assay-engine ready on http://{options.host}:{server.server_port} (stand-in)")
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
