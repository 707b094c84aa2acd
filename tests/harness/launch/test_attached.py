"""Servers that run already: asked, with the key they want, and left as they are."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from standin_target import StandinTarget

from harness.errors import LaunchError
from harness.launch.attached import UrlLauncher
from harness.launch.place import Place
from harness.launch.process import ServerProcess
from harness.launch.running import wait_ready
from harness.launch.server import launched
from harness.session import Wishes, run
from harness.targets.base import Launch

KEY = "sk-not-for-records"


class Guarded(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.headers.get("Authorization") == f"Bearer {KEY}" else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def guarded() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Guarded) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_key_is_sent_and_a_wrong_one_is_told_by_its_status(guarded: str, tmp_path: Path) -> None:
    launches = {"one": Launch("model")}

    def log(name: str) -> Path:
        return tmp_path / name

    with launched(UrlLauncher({"": guarded}, KEY), StandinTarget({}), launches, log, timeout=20) as servers:
        assert servers["one"].url == guarded
    with (
        pytest.raises(LaunchError, match=r"not ready within 0\.5 s: at http://\S+, /health answered 401") as refused,
        launched(UrlLauncher({"": guarded}, "wrong"), StandinTarget({}), launches, log, timeout=0.5),
    ):
        pass
    assert "wrong" not in str(refused.value)


def test_a_run_on_attached_servers_leaves_them_running_and_the_key_out_of_the_record(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_OF_THE_SERVER", KEY)
    monkeypatch.setenv("STANDIN_FLAGS", "{}")
    target = StandinTarget({})
    servers = {
        setting: ServerProcess(
            setting, target.launch_line(Launch(str(checkpoint), {"avoid_retokenize": setting})), tmp_path / setting
        )
        for setting in ("off", "on")
    }
    try:
        for server in servers.values():
            server.start()
        wait_ready(list(servers.values()), target.ready_url, "/health", 30.0)
        urls = [f"{setting}={server.url}" for setting, server in servers.items()]
        outcome = run(
            Wishes(
                jobs=["token-drift"],
                target="standin_target:StandinTarget",
                model=str(checkpoint),
                samples=6,
                directory=tmp_path / "runs",
                place=Place(url=urls, api_key="KEY_OF_THE_SERVER"),
            )
        )
        assert [server.ended() for server in servers.values()] == [None, None]
    finally:
        for server in servers.values():
            server.stop()
    assert outcome.code == 0
    text = outcome.record.read_text()
    assert KEY not in text
    assert servers["on"].url in text
