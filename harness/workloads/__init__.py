"""Request makers: prompts from a seed, the same on every machine."""
