"""The benchmark: the reference engine against other ways to serve the same checkpoint, and its toggles against off.

Every contestant runs in a process of its own and plays the same requests, arriving at the same moments, in interleaved
rounds (A B B A). Answers are compared token for token with transformers' ``generate``; a contestant whose answers
differ is reported and never timed as an equal. What runs is data, in :mod:`harness.bench.entries`.

Usage: ``assay bench``, ``assay bench --quick``, ``assay bench --help``.
"""
