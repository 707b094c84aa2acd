"""URLs and files as sources: nothing unless allowed, and then nothing but what was allowed."""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from reference_engine import ConfigError, RequestError
from reference_engine.server.fetching import Fetcher
from reference_engine.server.limits import Limits
from reference_engine.server.sources import Sources

BYTES = bytes(range(256)) * 40
LOCAL = ("127.0.0.0/8",)


class Host(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append((self.headers["Host"], self.path))  # type: ignore[attr-defined]
        path, _, rest = self.path.partition("?")
        if path == "/to":
            self.send_response(302)
            self.send_header("Location", rest)
            self.end_headers()
        elif path == "/missing":
            self.send_error(404, "secret words of the host")
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(BYTES) + (path == "/cut")))
            self.end_headers()
            for byte in BYTES if path == "/slow" else [BYTES]:
                try:
                    self.wfile.write(byte if isinstance(byte, bytes) else bytes([byte]))
                except OSError:
                    return
                time.sleep(0.02 * (path == "/slow"))

    def log_message(self, *arguments: Any) -> None:
        """Nothing."""


@pytest.fixture
def host() -> Iterator[Any]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Host) as server:
        server.asked = []  # type: ignore[attr-defined]
        server.daemon_threads = True
        server.block_on_close = False
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def fetcher(host: Any, *, networks: tuple[str, ...] = LOCAL, **changes: Any) -> Fetcher:
    """One that knows pictures.example, which is at 127.0.0.1 unless ``addresses`` says otherwise."""
    addresses = changes.pop("addresses", ["127.0.0.1"])
    settings = {"seconds": 5, "most_bytes": len(BYTES)} | changes
    names = [f"pictures.example:{host.server_port}"]
    return Fetcher(names, networks, resolve=lambda name, port: addresses, **settings)


def refusal(fetcher: Fetcher, url: str) -> RequestError:
    with pytest.raises(RequestError) as caught:
        fetcher.fetch(url, "f")
    assert caught.value.field == "f"
    return caught.value


def test_an_allowed_host_is_asked_by_its_name_at_the_address_that_was_checked(host: Any) -> None:
    port = host.server_port
    assert fetcher(host).fetch(f"http://pictures.example:{port}/a?b=c#d", "f") == BYTES
    assert fetcher(host).fetch(f"HTTP://Pictures.Example.:{port}/to?/a", "f") == BYTES
    assert host.asked[0] == (f"pictures.example:{port}", "/a?b=c")


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example/a", "http://pictures.example/a", "http://127.0.0.1:PORT/a", "http://localhost:PORT/a",
        "http://pictures.example:PORT@other.example/a", "http://u:p@pictures.example:PORT/a",
        "http://other.example\\@pictures.example:PORT/a", "http://pictures.example:PORT\t/a", "ftp://pictures.example/a",
        "http:///a", "http://[::1/a", "http://pictures.example:99999/a", "http://pictures.example.evil:PORT/a",
        "http://pïctures.example:PORT/a", "http://pictures.example:PORT/a\r\nX: y",
    ],
)  # fmt: skip
def test_what_is_not_exactly_an_allowed_host_is_not_asked(host: Any, url: str) -> None:
    port = str(host.server_port)
    assert refusal(fetcher(host), url.replace("PORT", port)).status == 400
    redirected = refusal(fetcher(host), f"http://pictures.example:{port}/to?{'http://other.example/a'}")
    assert "'other.example' is not a host" in redirected.message
    assert len(host.asked) == 1


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "ff02::1",
        "2002:7f00:1::", "2001:0:7f00:1::", "64:ff9b::7f00:1", "240.0.0.1", "198.18.0.1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public_is_not_connected_to(host: Any, address: str) -> None:
    """One such address among public ones is enough."""
    url = f"http://pictures.example:{host.server_port}/a"
    for addresses in ([address], ["93.184.216.34", address]):
        assert "not public" in refusal(fetcher(host, networks=(), addresses=addresses), url).message
    assert host.asked == []


def test_a_name_that_means_something_else_the_second_time_is_looked_up_once(host: Any) -> None:
    answers = [["127.0.0.1"], ["10.0.0.1"]]
    one = Fetcher(
        [f"pictures.example:{host.server_port}"], LOCAL, seconds=5, most_bytes=10**6,
        resolve=lambda name, port: answers.pop(0),
    )  # fmt: skip
    assert one.fetch(f"http://pictures.example:{host.server_port}/a", "f") == BYTES
    assert answers == [["10.0.0.1"]]
    assert "not public" in refusal(one, f"http://pictures.example:{host.server_port}/a").message


def test_what_a_host_answers_badly_is_told_without_its_words(host: Any) -> None:
    base = f"http://pictures.example:{host.server_port}"
    missing = refusal(fetcher(host), f"{base}/missing?key=hidden")
    assert missing.message == "'pictures.example' answered with status 404"
    assert "redirects" in refusal(fetcher(host), f"{base}/to?{base}/to?{base}/to?{base}/to?{base}/a").message
    assert refusal(fetcher(host, most_bytes=len(BYTES) - 1), f"{base}/a").status == 413
    assert (
        "could not be read (ConnectionError)"
        in refusal(fetcher(host, most_bytes=len(BYTES) * 2), f"{base}/cut").message
    )
    assert "no address" in refusal(fetcher(host, addresses=[]), f"{base}/a").message


def test_a_host_that_trickles_is_broken_off(host: Any) -> None:
    began = time.monotonic()
    slow = refusal(fetcher(host, seconds=0.3), f"http://pictures.example:{host.server_port}/slow")
    assert "took more than 0.3 s" in slow.message
    assert time.monotonic() - began < 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a picture, a folder and links in it, and a secret beside it."""
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "in" / "a b.png").write_bytes(BYTES)
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "root2").mkdir()
    (tmp_path / "root2" / "a.png").write_bytes(b"secret")
    (root / "inside.png").symlink_to(root / "in" / "a b.png")
    (root / "outside.png").symlink_to(tmp_path / "secret.png")
    (root / "up").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.png")
    return root


def test_files_inside_the_root_are_read(folder: Path) -> None:
    sources = Sources(Limits(media_root=str(folder)))
    for name in (f"file://{folder}/in/a%20b.png", f"{folder}/in/a b.png", "in/a b.png", "./in/../inside.png"):
        assert sources.read(name, "f") == BYTES


@pytest.mark.parametrize(
    "name",
    [
        "ROOT/../secret.png", "file://ROOT/../secret.png", "file://ROOT/%2e%2e/secret.png", "../root2/a.png",
        "outside.png", "up/secret.png", "pipe.png", "./in", "nothing.png", "file:///etc/passwd", "/etc/passwd",
        "file:///dev/zero", "file://ROOT/in/a%00.png", "~/a.png", "ROOT", "file:", "file://", "/proc/self/environ",
    ],
)  # fmt: skip
def test_nothing_else_is_read_or_told(folder: Path, name: str) -> None:
    with pytest.raises(RequestError) as caught:
        Sources(Limits(media_root=str(folder))).read(name.replace("ROOT", str(folder)), "f")
    assert (caught.value.status, caught.value.message) == (
        400,
        "not a file in the folder that clients may name files of",
    )


def test_sizes_count_for_files_and_a_picture_in_base64_is_no_path(folder: Path) -> None:
    sources = Sources(Limits(media_root=str(folder), max_image_mb=1))
    (folder / "big.png").write_bytes(bytes(2**20 + 1))
    with pytest.raises(RequestError) as caught:
        sources.read("big.png", "f")
    assert caught.value.status == 413
    assert sources.read(base64.b64encode(b"\xff\xd8\xff\xe0" * 3).decode(), "f") == b"\xff\xd8\xff\xe0" * 3


def test_settings_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    limits = Limits(media_hosts="a.example")
    for wrong in (replace(limits, media_networks="10.0.0.1/8"), Limits(media_root=str(tmp_path / "none"))):
        with pytest.raises(ConfigError, match="media_"):
            Sources(wrong)


def test_an_allowed_url_is_a_source_on_the_wire(echo: Any, serve: Any, host: Any) -> None:
    """As far as it is fetched: what is there is no picture."""
    where = f"127.0.0.1:{host.server_port}"
    with serve(echo, media_hosts=where, media_networks="127.0.0.0/8") as client:
        answer = client.post("/generate", json={"text": "<|image_pad|>", "image_data": f"http://{where}/a"})
        assert f"{len(BYTES)} bytes are not an image" in answer.json()["error"]["message"]
        other = client.post("/generate", json={"text": "<|image_pad|>", "image_data": "http://localhost/a"})
        assert "not a host that is fetched from" in other.json()["error"]["message"]
