"""``assay serve`` and ``python -m reference_engine``: options to a running server.

Every field of :class:`EngineConfig` and of :class:`Limits` is an option; what is not given comes from ``ASSAY_<NAME>``
(limits: not), then from the default. ``ASSAY_API_KEY`` is the key that calls must carry, if one is set. Exit codes: 0
ended by SIGTERM, 2 could not start (one line says why), 130 interrupted.
"""

from __future__ import annotations

import argparse
import ast
import gc
import inspect
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from reference_engine.config import EngineConfig
from reference_engine.errors import ConfigError
from reference_engine.sentinels import resolve_model
from reference_engine.server.keys import VARIABLE, api_key
from reference_engine.server.limits import Limits
from reference_engine.server.listening import Listener, ListenError, serve
from reference_engine.server.sources import Sources

NOT_STARTED, INTERRUPTED = 2, 130
NOT_SETTINGS = ("ASSAY_CACHE", "ASSAY_PYTHON_", "ASSAY_TEST_MODEL", VARIABLE)
"""Beginnings of variables that others read: the cache of random models, the harness, the tests, the API key."""


def main(argv: Sequence[str] | None = None) -> int:
    try:
        options = build_parser().parse_args(argv)
    except SystemExit as ended:  # argparse has printed the help or what was wrong
        return int(ended.code or 0)
    try:
        return _run(options)
    except (ConfigError, ListenError) as error:
        print(f"assay-engine: error: {error}", file=sys.stderr, flush=True)
        return NOT_STARTED
    except KeyboardInterrupt:
        return INTERRUPTED


def _run(options: argparse.Namespace) -> int:
    began = time.monotonic()
    logging.basicConfig(level=options.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = engine_config(options, os.environ)
    limits = Limits(**{f.name: getattr(options, f.name) for f in fields(Limits)})
    key = api_key(os.environ)
    Sources(limits)  # refuses what they cannot mean before a model is loaded
    with Listener(options.host, options.port) as listener:
        from reference_engine.engine import Engine  # after the checks that need no torch
        from reference_engine.server.app import create_app

        app = create_app(Engine(config), limits, key)
        gc.collect()
        gc.freeze()  # what was loaded stays as long as the process: the collector need not walk through it again
        toggles = " ".join(f"{name}={_word(setting)}" for name, setting in config.toggle_settings().items())
        planted = f", fault {config.plant} planted" if config.plant else ""
        return serve(
            app, listener, limits, drain_seconds=options.drain_seconds, abort=app.state.abort_all,
            ready=lambda: f"(model {config.model}, {toggles}{planted}, {time.monotonic() - began:.1f} s)",
        )  # fmt: skip


def engine_config(options: argparse.Namespace, environ: Mapping[str, str]) -> EngineConfig:
    """Raises :class:`ConfigError` for whatever can be known to be wrong before a model is loaded."""
    names = [f.name for f in fields(EngineConfig)]
    config = EngineConfig.from_environment(environ, **{name: getattr(options, name) for name in names})
    for name in sorted(name for name in environ if name.startswith("ASSAY_") and not name.startswith(NOT_SETTINGS)):
        if name.removeprefix("ASSAY_").lower() not in names:
            raise ConfigError(f"{name} in the environment is not a setting; known: {', '.join(sorted(names))}")
    if config.plant is not None:
        _check_plant(config.plant, allowed=options.allow_plant)
    resolve_model(config.model)
    return config


def _check_plant(fault: str, *, allowed: bool) -> None:
    from reference_engine.faults import find_fault  # imports torch

    find_fault(fault)
    if not allowed:
        raise ConfigError(f"plant: {fault} makes answers wrong on purpose; add --allow-plant if that is meant")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="assay serve", description="Serve the reference engine over HTTP.", allow_abbrev=False
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument(
        "--port", type=_port, default=30000, help="0 takes a free one and prints it (default: %(default)s)"
    )
    parser.add_argument(
        "--log-level", default="warning", choices=["debug", "info", "warning", "error"], help="(default: %(default)s)"
    )
    parser.add_argument(
        "--drain-seconds",
        type=_positive,
        default=4,
        help="what SIGTERM leaves running requests to end (default: %(default)s)",
    )
    parser.add_argument("--allow-plant", action="store_true", help="without it, --plant is refused")
    engine = parser.add_argument_group("engine", "also read from the environment as ASSAY_<NAME>")
    meanings = _meanings(EngineConfig)
    for name, hint in get_type_hints(EngineConfig).items():
        engine.add_argument(_flag(name), metavar=_metavar(name, hint), help=_help(EngineConfig, name, meanings))
    limits = parser.add_argument_group("limits")
    meanings = _meanings(Limits)
    for name in get_type_hints(Limits):
        default = getattr(Limits, name)
        kind, metavar = (_positive, "N") if isinstance(default, int) else (str, "TEXT")
        limits.add_argument(
            _flag(name), type=kind, default=default, metavar=metavar, help=_help(Limits, name, meanings)
        )
    return parser


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _metavar(name: str, hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "|".join(get_args(hint))
    return {bool: "on|off", int: "N"}.get(hint, name.upper())


def _help(owner: type, name: str, meanings: Mapping[str, str]) -> str:
    default = next(f.default for f in fields(owner) if f.name == name)
    shown = "" if default in (MISSING, None, "") else f" (default: {_word(default)})"
    return (meanings.get(name, "") + shown).strip().replace("%", "%%")


def _word(setting: Any) -> str:
    return {True: "on", False: "off"}[setting] if isinstance(setting, bool) else str(setting)


def _meanings(owner: type) -> dict[str, str]:
    """The string under each field of a class, as its source has it."""
    [definition] = ast.parse(inspect.getsource(owner)).body
    assert isinstance(definition, ast.ClassDef)
    pairs = zip(definition.body, definition.body[1:], strict=False)
    return {
        field.target.id: " ".join(str(note.value.value).split()).replace("``", "")
        for field, note in pairs
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        and isinstance(note, ast.Expr) and isinstance(note.value, ast.Constant)
    }  # fmt: skip


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port (0 to 65535)")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
