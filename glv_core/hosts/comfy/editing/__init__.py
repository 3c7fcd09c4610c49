"""Editing videos in ComfyUI: what ties the frames of a window together in image models and their ControlNets."""
