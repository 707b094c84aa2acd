"""Logs: bounded on disk and in memory, and searched for what tells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from harness.launch import logs


def test_a_log_that_grows_too_long_loses_its_middle_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("a+b") as log:
        log.write(b"first\n" + b"middle\n" * 100 + b"last\n")
        log.flush()
        logs.bound(log.fileno(), most=1000, head=6, tail=5)
        assert len(path.read_bytes()) == 6 + 700 + 5  # not yet too long
        logs.bound(log.fileno(), most=700, head=6, tail=5)
        log.write(b"more\n")
    text = path.read_text()
    assert re.fullmatch(r"first\n\n\[assay: 700 bytes of this log were dropped here\]\nlast\nmore\n", text)


def test_only_the_two_ends_of_a_long_log_are_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("a" * 10 + "b" * 50 + "c" * 10)
    assert logs.read(path, most=10) == "a" * 10 + "\n[...]\n" + "c" * 10
    assert logs.read(path, most=35) == path.read_text()
    assert logs.read(tmp_path / "none") == ""


def test_an_announcement_is_found_wherever_the_reading_stopped(tmp_path: Path) -> None:
    path = tmp_path / "log"
    follower = logs.Follower(path)

    def announced(text: str) -> str | None:
        found = re.search(r"ready on (\S+)\n", text)
        return found[1] if found else None

    assert follower.find(announced) is None
    path.write_text("noise\n" * 1000 + "ready on http")
    assert follower.find(announced, step=6013) is None
    with path.open("a") as log:
        log.write("://here\nmore")
    assert follower.find(announced, step=20) == "http://here"


VLLM = """(EngineCore pid=7) ERROR Traceback (most recent call last):
(EngineCore pid=7) ValueError: No available memory for the cache blocks
Traceback (most recent call last):
  File "serve.py", line 1, in <module>
RuntimeError: Engine core initialization failed. See root cause above.
"""


def test_how_tracebacks_end_is_told_first_and_further_noise_does_not_hide_it() -> None:
    assert logs.telling_lines(VLLM)[-1].startswith("RuntimeError: Engine core initialization failed")
    noisy = VLLM + "".join(f"error {n} while cleaning up\n" for n in range(20))
    told = logs.telling_lines(noisy)
    assert told[0].startswith("RuntimeError: Engine core")
    assert told[-1] == "error 19 while cleaning up"
    assert logs.telling_lines("one\ntwo\n") == ["one", "two"]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("torch.OutOfMemoryError: HIP out of memory. Tried to allocate 2 GiB", "card's memory is full"),
        ("OSError: [Errno 98] Address already in use", "the port is taken"),
        ("ModuleNotFoundError: No module named 'sgl_kernel'", "--python"),
        ("vllm: error: unrecognized arguments: --warp", "engine's own --help"),
        ("OSError: /m does not appear to have a file named config.json", "look at --model"),
        ("RuntimeError: No CUDA GPUs are available", "sees no card"),
        ("OSError: [Errno 28] No space left on device", "a disk is full"),
    ],
)
def test_known_failures_come_with_what_to_do(line: str, what: str) -> None:
    assert what in str(logs.remedy(line))
    assert logs.remedy("INFO all is well") is None
