"""CLIP's two towers, always open_clip models: load, save, encode, and pretrain the sample's small base."""
