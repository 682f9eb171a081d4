"""A dry run: a few images of every source through readers, checks and models, and what the whole would take."""
