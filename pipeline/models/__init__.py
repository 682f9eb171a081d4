"""The two frozen models that everything starts from."""
