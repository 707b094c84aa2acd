"""From what a caller sent (text or ids, images) to what the model runs (ids, spans, grids, pixels, positions)."""
