from __future__ import annotations

import argparse
import socket
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from reference_engine import ConfigError, EngineConfig
from reference_engine.server.calls import Limits
from reference_engine.server.cli import build_parser, engine_config, main
from reference_engine.server.listening import Listener, ListenError

OTHER: dict[str, Any] = {
    "dtype": "bfloat16", "device": "cuda:1", "vit_batching": "per_item", "plant": "F1-01", "attention": "triton",
}  # fmt: skip


@pytest.fixture
def options(model: Path) -> argparse.Namespace:
    return build_parser().parse_args(["--model", str(model)])


@pytest.fixture
def taken() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize("name", [f.name for f in fields(EngineConfig) if f.name != "model"])
def test_every_engine_setting_is_an_option_and_an_environment_variable(model: Path, name: str) -> None:
    default = getattr(EngineConfig(), name)
    wanted = OTHER.get(name, not default if isinstance(default, bool) else 77)
    word = {True: "on", False: "off"}.get(wanted, str(wanted)) if isinstance(wanted, bool) else str(wanted)
    line = ["--model", str(model), "--allow-plant"]
    flagged = build_parser().parse_args([*line, f"--{name.replace('_', '-')}", word])
    plain = build_parser().parse_args(line)
    assert getattr(engine_config(flagged, {}), name) == wanted != default
    assert getattr(engine_config(plain, {f"ASSAY_{name.upper()}": word}), name) == wanted
    assert getattr(engine_config(flagged, {f"ASSAY_{name.upper()}": "1"}), name) == wanted


def test_every_limit_is_an_option() -> None:
    for limit in fields(Limits):
        found = getattr(build_parser().parse_args([f"--{limit.name.replace('_', '-')}", "3"]), limit.name)
        assert found == type(limit.default)(3)


def test_the_environment_may_not_misspell_a_setting(options: argparse.Namespace) -> None:
    with pytest.raises(ConfigError, match="ASSAY_AVOID_RETOKENISE in the environment is not a setting; known: "):
        engine_config(options, {"ASSAY_AVOID_RETOKENISE": "on"})


def test_variables_that_others_read_are_left_to_them(model: Path) -> None:
    options = build_parser().parse_args(["--model", str(model)])
    others = {"ASSAY_CACHE": "/somewhere", "ASSAY_PYTHON_SGLANG": "/somewhere/bin/python"}
    assert engine_config(options, others) == engine_config(options, {})


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (["--model", "sentinel-qwen9"], "model: 'sentinel-qwen9' is neither a directory with a config.json nor"),
        (["--avoid-retokenize", "maybe"], "avoid_retokenize: 'maybe' is not on/off"),
        (["--vit-batching", "all"], "vit_batching: 'all' is not one of 'per_item', 'cross_request'"),
        (["--chunked-prefill", "-3"], "chunked_prefill: -3 is negative"),
        (["--max-images", "x"], "max_images: 'x' is not an integer"),
        (["--plant", "F1-01"], "plant: F1-01 makes answers wrong on purpose; add --allow-plant"),
        (["--plant", "F9-99", "--allow-plant"], "plant: unknown fault 'F9-99'; known: "),
        (["--warp-speed", "9"], "unrecognized arguments: --warp-speed 9"),
        (["--avoid-retoken", "on"], "unrecognized arguments: --avoid-retoken on"),
        (["--port", "70000"], "'70000' is not a port"),
        (["--max-calls", "0"], "'0' is not a whole number of at least 1"),
        (["--host", "no.such.host.invalid"], "cannot listen on no.such.host.invalid:30000"),
    ],
)
def test_what_cannot_be_started_ends_with_2_and_one_clear_line(
    model: Path, capsys: pytest.CaptureFixture[str], line: list[str], says: str
) -> None:
    assert main([*([] if "--model" in line else ["--model", str(model)]), *line]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert says in captured.err.splitlines()[-1]


def test_help_explains_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "--vit-batching per_item|cross_request Encode the images of all waiting requests in one pass" in text


def test_a_port_in_use_is_named_by_the_real_command(model: Path, taken: int) -> None:
    command = [sys.executable, "-m", "reference_engine", "--model", str(model), "--port", str(taken)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert done.returncode == 2
    assert done.stderr.startswith(f"assay-engine: error: 127.0.0.1:{taken} is in use")
    assert len(done.stderr.splitlines()) == 1


def test_a_free_port_is_told_and_two_never_share_one() -> None:
    with Listener("127.0.0.1", 0) as one, Listener("127.0.0.1", 0) as two:
        one.listen()
        two.listen()
        assert one.url != two.url
        port = int(one.url.rsplit(":", 1)[1])
        with pytest.raises(ListenError, match=f"127.0.0.1:{port} is in use"):
            Listener("127.0.0.1", port)


def test_of_two_that_start_at_once_on_one_port_one_is_told() -> None:
    with Listener("127.0.0.1", 0) as free:
        port = int(free.url.rsplit(":", 1)[1])
    with Listener("127.0.0.1", port) as one, Listener("127.0.0.1", port) as two:
        one.listen()
        with pytest.raises(ListenError, match=f"127.0.0.1:{port} is in use"):
            two.listen()
