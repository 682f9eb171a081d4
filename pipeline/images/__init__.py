"""Image files: decoding, and bounds on the work that it may take."""
