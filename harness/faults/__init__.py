"""Faults of the catalogue against the suites: which check sees which, how soon, and which are seen by none.

``assay faults list``, ``assay faults show F1-01``, ``assay faults run --all``.
"""
