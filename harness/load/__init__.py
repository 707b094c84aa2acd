"""Load on a running target: when requests are meant to be sent, sending them, and what came of it."""
