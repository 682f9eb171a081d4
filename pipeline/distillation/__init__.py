"""Training a student: recipes, batches, steps, interpolation."""
