"""Judges: pure functions from what was sent and seen to a :class:`~harness.verdict.Verdict`. No I/O, no engine, no
clock.

Every check proves that it was exercised; where nothing was compared it says ``not_exercised``, never ``pass``.
"""
