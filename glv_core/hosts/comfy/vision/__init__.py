"""Masks and control images in ComfyUI: the models, where their files lie, and running them over a whole clip."""
