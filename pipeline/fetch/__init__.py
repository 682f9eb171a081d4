"""What is fetched when someone asks for it by name: resumable, verified, and whole or not at all."""
