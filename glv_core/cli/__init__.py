"""The command line: long video from a diffusers folder without ComfyUI. Importing it is cheap, as ``--help`` is."""
