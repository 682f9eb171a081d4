"""What can be read from embeddings: attributes of pictures, words of captions, concepts of both."""
