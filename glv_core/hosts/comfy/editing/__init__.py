"""Editing a video with ComfyUI's models: inversion, and how frames of image models see each other."""
