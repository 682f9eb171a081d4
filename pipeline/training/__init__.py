"""Training of any module: objectives, schedule, the loop with checkpoints, processes that share a batch."""
