"""Retrieval: exact FAISS indexes, search, and the metrics that come from them."""
