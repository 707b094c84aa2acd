"""How the packaged sentinels were made: ``python -m reference_engine.sentinels.training --out DIRECTORY`` (CPU,
hours)."""
