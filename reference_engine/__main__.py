"""``python -m reference_engine``: serve one model over HTTP. The same as ``assay serve``."""

from __future__ import annotations

import sys

from reference_engine.server.cli import main

sys.exit(main())
