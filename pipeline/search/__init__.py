"""Search by text or image: FAISS indexes bound to the model that made them, an engine, and a local page."""
