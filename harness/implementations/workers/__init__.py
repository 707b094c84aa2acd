"""What runs inside another engine's own environment: scripts that import that engine and nothing of Assay's."""
