"""``assay probe URL``: one line against any running server; nothing is installed on its side.

    assay probe http://127.0.0.1:8000
    assay probe http://gpu-box:30000 --model Qwen/Qwen2.5-VL-3B-Instruct --html report.html

Exit codes: 0 all passed, 1 a check failed, 2 no such server or nothing tested, 3 cannot tell, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from harness.errors import JobError, UsageError
from harness.progress import new_console
from harness.verdict import exit_code


def main(argv: Sequence[str]) -> int:
    options = build_parser().parse_args(argv)
    from harness.probe import card
    from harness.probe.run import Wishes, probe
    from harness.progress import LiveBars, PlainLines, Silent

    wishes = Wishes(
        options.url, options.model, options.served_name, _key(options.api_key_env), options.hostile, options.requests,
        options.request_timeout, options.time_limit, options.seed,
    )  # fmt: skip
    err = new_console(stderr=True)
    showing = Silent() if options.quiet else LiveBars(err) if err.is_terminal else PlainLines(err)
    with showing if isinstance(showing, LiveBars) else nullcontext():
        report = probe(wishes, showing)
    code = exit_code(report.filed, incomplete=report.ended is not None)
    if options.json:
        sys.stdout.write(card.as_json(report, code) + "\n")
    else:
        card.show(new_console(), report, code)
    for path, write in ((options.html, card.as_html), (options.markdown, card.as_markdown), (options.svg, card.as_svg)):
        if path is not None:
            _write(path, write(report, code))
    return code


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise JobError(f"{path} cannot be written: {error.strerror}") from error


def _key(variable: str | None) -> str | None:
    if variable is None:
        return None
    if not (key := os.environ.get(variable)):
        raise UsageError(f"--api-key-env: the environment has no {variable}")
    return key


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="assay probe", description="What a running server does with tokens and pictures."
    )
    parser.add_argument("url", help="of an OpenAI-compatible server: vLLM, SGLang, transformers serve, llama.cpp, ...")
    parser.add_argument(
        "--model", metavar="FILES",
        help="the served model's processor files, to predict counts and ids from: a folder, a packaged sentinel, "
        "or a name on the Hub (small files only); without it answers are held against each other",
    )  # fmt: skip
    parser.add_argument(
        "--served-name", metavar="NAME", help="the model's name in requests (default: the first listed)"
    )
    parser.add_argument("--api-key-env", metavar="VAR", help="the environment variable that holds the server's key")
    parser.add_argument("--no-hostile", action="store_false", dest="hostile", help="send nothing malformed")
    parser.add_argument(
        "--requests", type=_positive, default=400, metavar="N", help="at most so many (default: %(default)s)"
    )
    parser.add_argument(
        "--request-timeout", type=float, default=60.0, metavar="S", help="seconds for one answer (default: %(default)g)"
    )
    parser.add_argument(
        "--time-limit", type=float, default=900.0, metavar="S", help="seconds for all of it (default: %(default)g)"
    )
    parser.add_argument("--seed", type=int, help="of the pictures (default: another one every time, told on the card)")
    parser.add_argument(
        "--html", type=_new_file, metavar="FILE", help="the report card as a page that needs nothing else"
    )
    parser.add_argument(
        "--markdown", type=_new_file, metavar="FILE", help="the report card for an issue or a pull request"
    )
    parser.add_argument("--svg", type=_new_file, metavar="FILE", help="the report card as a picture")
    parser.add_argument("--json", action="store_true", help="print verdicts with their evidence as JSON, not the card")
    parser.add_argument("--quiet", action="store_true", help="no progress, only the card")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _new_file(text: str) -> Path:
    """Looked at before anything is asked: a probe takes minutes."""
    path = Path(text)
    if path.is_dir():
        raise argparse.ArgumentTypeError(f"{path} is a folder")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{path}: there is no folder {path.parent}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{path} may not be written")
    return path
