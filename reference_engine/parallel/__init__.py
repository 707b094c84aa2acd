"""Tensor parallelism: one decoder over several devices, for models that outgrow one card.

Rank 0 is the engine, unchanged; the other ranks are processes of its own that hold a share of every decoder layer and
do what they are told, step by step. Embeddings, head, vision tower, scheduling and sampling are rank 0's alone.
"""
