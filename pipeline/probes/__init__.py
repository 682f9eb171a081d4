"""What can be read from embeddings: attributes of images, words of captions, concepts of both."""
