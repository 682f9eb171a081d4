"""Zero-shot classification: sets of pictures by class, and the classifier that class names make."""
