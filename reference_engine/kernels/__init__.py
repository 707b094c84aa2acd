"""Triton kernels: one source for NVIDIA and AMD cards, run on a CPU by Triton's interpreter (`TRITON_INTERPRET=1`).

Nothing outside this package imports triton, and nothing imports this package until a GPU backend is asked for.
"""

AS_WRITTEN = {"enable_fp_fusion": False}
"""Of every launch: no compiler joins a product and a sum that the source does not. Triton compiles variants of a
kernel, by alignment for one, and a batch must not decide by which of them its sums are rounded.
"""
