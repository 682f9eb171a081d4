"""By what the best epoch is chosen, and the point of interpolation after it: retrieval on validation data."""

from pipeline.training.loop import Figures


def retrieval(figures: Figures) -> float:
    """Sum of recall@1 both ways on validation data."""
    return figures["val_text_to_image_recall@1"] + figures["val_image_to_text_recall@1"]


def is_better(epoch: Figures, best: Figures) -> bool:
    """Whether an epoch takes the place of the best one so far; of equal ones the first stays."""
    return retrieval(epoch) > retrieval(best)
