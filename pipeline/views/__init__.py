"""Augmented views of training images: drawn from a seed, kept as a table, and made of an image."""
