"""For every test run: one thread a process, since the workers and the servers they launch share the cores."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
