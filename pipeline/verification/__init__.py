"""Every artefact checked again: its bytes, its rows against the manifest, and a sample of them computed anew."""
