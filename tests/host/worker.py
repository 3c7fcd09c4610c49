"""Runs in ComfyUI's interpreter: loads the pack as ComfyUI does and calls test functions on request.

Arguments: ComfyUI's folder, the pack's folder, a base folder for models and output, and flags: ``--gpu`` to use the
graphics card, which tests never do, and ComfyUI's own. Reads lines of JSON ``[number, module, function, arguments]``
and answers each with a line ``RESULT [number, {"value": ...}]`` or ``RESULT [number, {"error": ...}]``.
"""

import importlib
import json
import os
import sys
import traceback

from boot import boot

comfyui, pack, base, *flags = sys.argv[1:]
flags = [flag for flag in flags if flag != "--gpu"] if "--gpu" in flags else [*flags, "--cpu"]
answers = boot(comfyui, pack, base, *flags)

import torch

modules: dict = {}
sys.path.append(os.path.join(pack, "tests", "host", "inside"))
for line in sys.stdin:
    number, module, function, arguments = json.loads(line)
    try:
        if module not in modules:
            modules[module] = importlib.import_module(module)
        with torch.inference_mode():
            result = {"value": getattr(modules[module], function)(**arguments)}
        text = json.dumps([number, result])
    except BaseException:
        text = json.dumps([number, {"error": traceback.format_exc()}])
    answers.write("RESULT " + text + "\n")
    answers.flush()
