"""Editing videos with ComfyUI's models: inversion, and what ties the frames of a window together in image models."""
