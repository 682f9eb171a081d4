"""The cross-modal meta-teacher of DCLIP: trained on cached features, its embeddings are the student's targets."""
