"""Streaming in ComfyUI: chunk after chunk with the host's KSampler, each kept under a hash of all it depends on."""
