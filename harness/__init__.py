"""Assay's harness: launches engines, asks them, judges what they ran, records it and shows it."""
