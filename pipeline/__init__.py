"""The library: plain functions and classes. It knows nothing of DVC, the command line or params.yaml.

The way of the data: sources -> curation -> artifacts -> detector, spans, clip -> teacher -> distillation -> evaluation.
"""
