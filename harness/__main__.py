"""``python -m harness`` is ``assay``."""

import sys

from harness.cli import main

sys.exit(main())
