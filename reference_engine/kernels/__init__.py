"""Triton kernels: one source for NVIDIA and AMD cards, run on a CPU by Triton's interpreter (`TRITON_INTERPRET=1`).

Nothing outside this package imports triton, and nothing imports this package until a GPU backend is asked for.
"""
