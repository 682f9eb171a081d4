"""Spans of captions, by character offsets: noun phrases (spaCy or rules) and CLIP's own BPE tokens."""
