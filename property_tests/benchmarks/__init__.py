"""How fast the pure functions are: ``pytest --pyargs property_tests.benchmarks --benchmark-enable -n0``."""
