"""Runs in ComfyUI's interpreter: loads the pack as ComfyUI does and calls test functions on request.

Arguments: ComfyUI's folder, the pack's folder, a base folder for models and output, and flags: ``--gpu`` to use the
graphics card, which tests never do, and ComfyUI's own. Reads lines of JSON ``[number, module, function, arguments]``
and answers each with a line ``RESULT [number, {"value": ...}]`` or ``RESULT [number, {"error": ...}]``.
"""

import importlib.util
import json
import os
import sys
import traceback

comfyui, pack, base = sys.argv[1:4]
flags = [*sys.argv[4:], "--cpu"] if "--gpu" not in sys.argv[4:] else [flag for flag in sys.argv[4:] if flag != "--gpu"]
sys.argv = ["main.py", *flags, "--base-directory", base, "--database-url", "sqlite:///:memory:"]
sys.path[0] = comfyui
for folder in ("models", "custom_nodes", "input", "output", "temp", "user"):
    os.makedirs(os.path.join(base, folder), exist_ok=True)

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever ComfyUI prints goes to the log

import comfy.options

comfy.options.enable_args_parsing()

import torch
import utils.extra_config  # noqa: F401  (ComfyUI's, as in its main.py: later another package's "utils" is found)

import nodes  # noqa: F401  (ComfyUI's)

cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
torch.set_num_threads(min(2, cores))  # more are slower on the tiny models, and so are more than there are cores


def load(name: str, path: str, package: bool = False):
    spec = importlib.util.spec_from_file_location(
        name, path, submodule_search_locations=[os.path.dirname(path)] if package else None
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


load("long_video_pack", os.path.join(pack, "__init__.py"), package=True)
modules: dict = {}
here = os.path.join(pack, "tests", "host", "inside")
sys.path.append(here)
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
