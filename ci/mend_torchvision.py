"""Let the torchvision of this environment be imported beside a torch that it was not built for.

The package index has torchvision built for CUDA only. Beside a CPU torch its compiled operators cannot load, which it
expects everywhere but in two places: there it registers shape functions for operators that are then missing, and the
import fails, and with it every import of transformers' image classes. This asks in those two places too. Only a copy
inside the running environment is changed, never one of another; where torchvision imports as it is, nothing is done.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

UNASKED = '@torch.library.register_fake("torchvision::{}")'
ASKED = '@(torch.library.register_fake("torchvision::{}") if torchvision.extension._has_ops() else lambda f: f)'


def imports() -> bool:
    """Whether a fresh process can import it."""
    return subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True).returncode == 0


def mend(registrations: Path) -> bool:
    """Rewrite the two places. False where the file does not hold them."""
    text = registrations.read_text(encoding="utf-8")
    mended = text
    for operator in ("nms", "qnms"):
        mended = mended.replace(UNASKED.format(operator), ASKED.format(operator))
    registrations.write_text(mended, encoding="utf-8")
    return mended != text


def main() -> int:
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None or imports():
        return 0
    package = Path(found.origin).parent
    if not package.is_relative_to(sys.prefix):
        sys.stderr.write(f"setup: torchvision in {package} does not import beside this torch, and is left as it is\n")
    elif mend(package / "_meta_registrations.py") and imports():
        sys.stderr.write("setup: torchvision is built for another torch; its compiled operators are left out\n")
    else:
        sys.stderr.write("setup: torchvision does not import beside this torch; AutoProcessor will not work here\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
