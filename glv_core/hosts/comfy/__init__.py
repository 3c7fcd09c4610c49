"""ComfyUI: what the nodes call, in rooms. Import them inside ComfyUI only.

* ``families``: what differs between video models. Every other room may ask it; it asks ``memory`` alone.
* ``co_denoise``: windows at the host's context-handler hook, and a KSampler with them.
* ``streaming``: a long video chunk by chunk.
* ``video``: VIDEO, IMAGE and LATENT of any length, a few frames at a time.
* ``vision``: masks and control images, and the models that find them.
* ``loading``: diffusers folders as MODEL, CLIP and VAE.

Beside them ``memory`` and ``host_symbols``, the list of all that is used of ComfyUI.
"""
