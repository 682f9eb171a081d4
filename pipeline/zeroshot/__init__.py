"""Zero-shot classification: sets of images by class, and the classifier that class names make."""
