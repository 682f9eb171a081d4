"""Retrieval data, metrics and their intervals."""
