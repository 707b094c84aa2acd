"""How hard the properties look: ``--hypothesis-profile ci`` (default, repeatable), ``quick`` (few examples, and no
search for the smallest), ``dev`` (short), ``nightly`` (long).

Only ``ci`` draws the same examples each time, so a plain run finds today what it found yesterday; with the others
``--hypothesis-seed N`` does.
"""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

# The oracle is plain Python and the first call of a torch operator is slow: time is no sign of a fault here.
_SLOW_IS_FINE = [HealthCheck.too_slow, HealthCheck.data_too_large]


def register() -> None:
    """Make the profiles known to hypothesis; does not load one."""
    settings.register_profile(
        "quick", max_examples=30, deadline=None, database=None,
        phases=(Phase.explicit, Phase.generate), suppress_health_check=_SLOW_IS_FINE,
    )  # fmt: skip
    settings.register_profile("dev", max_examples=60, deadline=None, suppress_health_check=_SLOW_IS_FINE)
    settings.register_profile(
        "ci", max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=_SLOW_IS_FINE
    )
    settings.register_profile("nightly", max_examples=2000, deadline=None, suppress_health_check=_SLOW_IS_FINE)


def load_default() -> None:
    """``ci``: nobody's change is to fail for what another draw would have found."""
    register()
    settings.load_profile("ci")
