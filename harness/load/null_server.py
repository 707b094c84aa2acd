"""``python -m harness.load.null_server``: answers every request at once, so that a run against it measures the
generator alone.

``POST /generate`` is answered as the reference engine streams, any other path as an OpenAI chat streams; each with
``max_new_tokens`` (or ``max_tokens``) events of one token. ``--token-seconds`` is a pause before each event, for
tests of what the generator measures. It prints its address once it listens.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from typing import Any

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def events(path: str, body: dict[str, Any]) -> list[bytes]:
    """The data lines of one streamed answer."""
    if path == "/generate":
        tokens = body["sampling_params"]["max_new_tokens"]
        prompt = len(body.get("input_ids", ()))
        made: list[dict[str, Any]] = [
            {"text": "x", "meta_info": {"completion_tokens": number, "prompt_tokens": prompt}}
            for number in range(1, tokens + 1)
        ]
    else:
        tokens = body.get("max_completion_tokens") or body.get("max_tokens") or 1
        made = [{"choices": [{"index": 0, "delta": {"content": "x"}}]} for _ in range(tokens)]
        made.append({"choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": tokens}})
    return [f"data: {json.dumps(event)}\n\n".encode() for event in made] + [b"data: [DONE]\n\n"]


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token_seconds: float) -> None:
    """Requests of one connection, one after the other, until the client closes it."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
            body = json.loads(await reader.readexactly(int(headers["content-length"])))
            writer.write(HEAD)
            for line in events(head[0].split()[1], body):
                if token_seconds:
                    await asyncio.sleep(token_seconds)
                writer.write(f"{len(line):x}\r\n".encode() + line + b"\r\n")
            writer.write(b"0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def run(token_seconds: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer, token_seconds)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=2**26)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--token-seconds", type=float, default=0.0)
    asyncio.run(run(parser.parse_args().token_seconds))


if __name__ == "__main__":
    main()
