"""Models measured beside each other: base and student, recipes, any model on any data."""
