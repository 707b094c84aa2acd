"""Makes an image without a registry: directories, links and one script, as a tar on standard output for ``docker
import``.

The image has no system of its own: ``/usr``, the interpreter and this checkout are mounted into its containers from the
machine (``local_image.py --volumes`` prints them, one a line), at the paths that they have there. Its ``python3`` is
this environment's.
"""

from __future__ import annotations

import io
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIRECTORIES = ["dev", "proc", "sys", "tmp", "etc", "root", "run", "usr", "var", "opt", "opt/assay", "opt/assay/bin"]
LINKS = ["bin", "sbin", "lib", "lib64"]
PYTHON = f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} "$@"\n'
FILES = {
    "etc/passwd": ("root:x:0:0:root:/root:/bin/sh\n", 0o644),
    "etc/group": ("root:x:0:\n", 0o644),
    "opt/assay/bin/python3": (PYTHON, 0o755),
}


def volumes() -> list[Path]:
    wanted = {Path("/usr"), Path(sys.base_prefix), Path(sys.prefix), ROOT}
    return sorted(path for path in wanted if not any(other in path.parents for other in wanted))


def entry(name: str, kind: bytes, mode: int, link: str = "", size: int = 0) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.type, found.mode, found.linkname, found.size = kind, mode, link, size
    return found


def main() -> None:
    if sys.argv[1:] == ["--volumes"]:
        sys.stdout.write("".join(f"{path}:{path}\n" for path in volumes()))
        return
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as tar:
        for name in DIRECTORIES:
            tar.addfile(entry(name, tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755))
        for name in LINKS:
            tar.addfile(entry(name, tarfile.SYMTYPE, 0o777, f"usr/{name}"))
        for name, (text, mode) in FILES.items():
            tar.addfile(entry(name, tarfile.REGTYPE, mode, size=len(text)), io.BytesIO(text.encode()))


if __name__ == "__main__":
    main()
