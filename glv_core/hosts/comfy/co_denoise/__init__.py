"""Co-denoising in ComfyUI: from the options of a node to the windows of one model evaluation."""
