"""The frozen models: the base CLIP and the detector, which everything starts from, and the teachers."""
