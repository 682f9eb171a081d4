"""Frozen CLIP embeddings of everything, as tables aligned with the manifest, filled from the feature store."""
