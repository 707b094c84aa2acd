"""Skips a module whose kernels cannot run: they need Triton, and a card or Triton's interpreter."""

import os

import pytest
import torch


def need_triton() -> str:
    """The device to run on. Triton reads TRITON_INTERPRET when it is first imported, so a test cannot set it."""
    pytest.importorskip("triton", reason="triton is not installed: ci/suites/kernels.sh runs these")
    if torch.cuda.is_available():
        return "cuda"
    if os.environ.get("TRITON_INTERPRET") != "1":
        pytest.skip("no GPU and no TRITON_INTERPRET=1: ci/suites/kernels.sh runs these", allow_module_level=True)
    return "cpu"
