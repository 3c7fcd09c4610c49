"""The ComfyUI host: co-denoising at the host's context-handler hook, and loading of diffusers folders.

Import it inside ComfyUI only.
"""
