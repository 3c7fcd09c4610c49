"""What differs between video models: their latents, what they take along the video, and how they go on."""
