"""Videos of any length in ComfyUI: read, encoded, decoded and handed on a few frames at a time."""
