"""Training: the student, its batches, the loop with checkpoints, and the recipes that say what is minimised."""
