"""Loading what ComfyUI has no loader for: diffusers folders as MODEL, CLIP and VAE, and Follow-Your-Pose."""
