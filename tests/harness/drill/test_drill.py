"""Every drill of the table: exit code, words, nothing left behind, nothing measured lost."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker, shared_memory
from pathlib import Path

import pytest
from container_drills import CONTAINER_DRILLS, IN_CONTAINERS, ContainerScene
from drills import DRILLS, PLACES, QUICK, RUN, Drill, Flags
from scene import IN_FLIGHT, Forker, Scene


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    found = Forker()
    yield found
    found.close()


@pytest.fixture
def scene(forker: Forker, checkpoint: Path, tmp_path: Path) -> Iterator[Scene]:
    found = Scene(forker, tmp_path, checkpoint)
    yield found
    found.clear()


@pytest.fixture(scope="module")
def other_server() -> Iterator[str]:
    """Somebody else's, which answers whatever it is asked."""
    body = (
        "import http.server as h\n"
        "class A(h.BaseHTTPRequestHandler):\n"
        "    def do_GET(s): s.send_response(200); s.send_header('Content-Length', '0'); s.end_headers()\n"
        "    def log_message(s, *a): ...\n"
        "server = h.HTTPServer(('127.0.0.1', 0), A); print(server.server_port, flush=True); server.serve_forever()"
    )
    process = subprocess.Popen([sys.executable, "-c", body], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
    process.kill()
    process.wait()
    process.stdout.close()


CASES = [
    pytest.param(drill, id=drill.name, marks=[] if drill.name in QUICK else [pytest.mark.slow]) for drill in DRILLS
]


@pytest.mark.parametrize("drill", CASES)
def test_drill(drill: Drill, scene: Scene, other_server: str, record_property: Callable[[str, object], None]) -> None:
    flags = {name: [flag.replace("{other}", other_server) for flag in more] for name, more in drill.flags.items()}
    perform(drill, drill.arguments, flags, scene, record_property)


@pytest.mark.containers
@pytest.mark.parametrize("drill", CONTAINER_DRILLS, ids=[drill.name for drill in CONTAINER_DRILLS])
def test_drill_in_containers(
    drill: Drill, forker: Forker, checkpoint: Path, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    scene = ContainerScene(forker, tmp_path, checkpoint)
    arguments = [*RUN, *PLACES, *IN_CONTAINERS, *drill.more]
    try:
        perform(drill, arguments, drill.flags, scene, record_property)
    finally:
        scene.clear()


def perform(
    drill: Drill, arguments: list[str], flags: Flags, scene: Scene, record_property: Callable[[str, object], None]
) -> None:
    """Start, disturb, look."""
    began = time.monotonic()
    scene.start(arguments, dict(flags), {}, **drill.limits)
    drill.disturb(scene)
    code = scene.ended()
    if drill.sweep:
        assert scene.left_after(1.0), "there is nothing to sweep"
        scene.start(["sweep"], {}, {})
        assert scene.ended() == 0
    left, said = scene.left_after(), scene.said()
    record_property(
        "drill", [drill.name, code, f"{scene.answers()}/{scene.answered()}", round(time.monotonic() - began, 1)]
    )
    assert code == drill.code, said
    assert re.search(drill.told, said), said
    assert "Traceback (most recent call last)" not in said or "unexpected" in said or "engine.py" in said, said
    assert left == []
    assert scene.answers() >= max(drill.answers, scene.answered() - IN_FLIGHT)
    assert "sk-secret" not in said.partition("error:")[2]


def test_the_drill_sees_what_is_left(forker: Forker, checkpoint: Path, tmp_path: Path) -> None:
    scene = Scene(forker, tmp_path, checkpoint)
    sleeper = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], env={**os.environ, "DRILL_TAG": scene.tag}
    )
    segment = shared_memory.SharedMemory(scene.tag, create=True, size=16)
    resource_tracker.unregister(segment._name, "shared_memory")  # type: ignore[attr-defined]
    segment.close()
    (scene.temporary / "engine.sock").touch()
    try:
        kinds = {line.split()[0] for line in scene.left_behind()}
    finally:
        scene.clear()
        sleeper.wait(10)
    assert kinds == {"process", "shared", "temporary"}
