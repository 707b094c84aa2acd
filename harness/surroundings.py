"""What a run ran on: versions, hardware, driver, git state. Read once a run; what cannot be read is left out."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("vlm-assay", "torch", "transformers", "tokenizers", "numpy", "scipy", "pillow", "httpx2")
ROOT = Path(__file__).parents[1]
GPU_QUERIES = {
    "nvidia-smi": ["--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"],
    "amd-smi": ["version"],
}


def assay_version() -> str:
    try:
        return version("vlm-assay")
    except PackageNotFoundError:
        return "0+checkout"


def versions() -> dict[str, str]:
    return {"python": platform.python_version()} | versions_of(PACKAGES)


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for package in packages:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def hardware() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found: dict[str, Any] = {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "load": [round(load, 2) for load in os.getloadavg()],
    }
    for tool, arguments in GPU_QUERIES.items():
        if (output := _output([tool, *arguments])) is not None:
            found[tool] = output.splitlines()
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        if names:
            return names[0]
    return platform.processor() or platform.machine()


def git_state(root: Path = ROOT) -> dict[str, Any]:
    """Commit and dirtiness of the checkout that Assay runs from; empty where it is not one."""
    if _output(["git", "-C", str(root), "rev-parse", "--show-toplevel"]) != str(root):
        return {}
    commit = _output(["git", "-C", str(root), "rev-parse", "HEAD"])
    status = _output(["git", "-C", str(root), "status", "--porcelain"])
    return {"commit": commit or "(no commit yet)", "dirty": bool(status)}


def digest_of(paths: Iterable[Path]) -> str:
    """Eight hexadecimal digits: others as soon as one of the files, or of the source files in a folder, changes."""
    digest = sha256()
    for path in paths:
        files = [file for file in path.rglob("*") if file.suffix in (".py", ".toml")] if path.is_dir() else [path]
        for file in sorted(files):
            digest.update(f"{file.relative_to(path)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()[:8]


def _output(command: list[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
