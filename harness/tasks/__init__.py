"""Accuracy tasks: questions about pictures and who is right, from wherever they come.

A task is anything with a ``name`` and ``samples(count, seed)`` (:class:`~harness.tasks.base.Task`): the sentinel's own
questions, a JSONL file, a task of lm-eval or lmms-eval. ``assay accuracy`` asks it of any target under several settings
and compares them question by question.
"""
