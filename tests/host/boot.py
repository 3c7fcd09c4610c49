"""Starts ComfyUI's modules in its own interpreter, as its main.py does, and loads the pack as ComfyUI does."""

import importlib.util
import os
import sys
from typing import TextIO


def boot(comfyui: str, pack: str, base: str, *flags: str) -> TextIO:
    """Makes ``comfy``, ``nodes`` and the pack, as ``long_video_pack``, importable.

    Args:
        comfyui, pack: folders.
        base: a folder for models and output.
        flags: ComfyUI's own. With ``--enable-dynamic-vram`` its dynamic memory is started, as in main.py.

    Returns:
        Where to answer: what was standard output. Whatever ComfyUI prints goes to standard error from now on.
    """
    sys.argv = ["main.py", *flags, "--base-directory", base, "--database-url", "sqlite:///:memory:"]
    sys.path[0] = comfyui
    for folder in ("models", "custom_nodes", "input", "output", "temp", "user"):
        os.makedirs(os.path.join(base, folder), exist_ok=True)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    import comfy.options

    comfy.options.enable_args_parsing()

    dynamic = "--enable-dynamic-vram" in flags
    if dynamic:
        import comfy_aimdo.control

        comfy_aimdo.control.init()

    import torch
    import utils.extra_config  # noqa: F401  (ComfyUI's, as in its main.py: later another package's "utils" is found)

    import nodes  # noqa: F401  (ComfyUI's)

    if dynamic:
        _start_dynamic_memory()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    asked = int(os.environ.get("OMP_NUM_THREADS", 2))  # more are slower on the tiny models
    torch.set_num_threads(min(asked, cores))
    spec = importlib.util.spec_from_file_location(
        "long_video_pack", os.path.join(pack, "__init__.py"), submodule_search_locations=[pack]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["long_video_pack"] = module
    spec.loader.exec_module(module)
    return answers


def _start_dynamic_memory() -> None:
    """What main.py does for dynamic memory before any model is loaded.

    Raises:
        RuntimeError: it does not work on this machine.
    """
    import comfy.memory_management
    import comfy.model_management
    import comfy.model_patcher
    import comfy_aimdo.control

    devices = comfy.model_management.get_all_torch_devices()
    if not comfy_aimdo.control.init_devices((device.index, 0) for device in devices):
        raise RuntimeError("dynamic memory does not work on this machine")
    comfy.model_patcher.CoreModelPatcher = comfy.model_patcher.ModelPatcherDynamic
    comfy.memory_management.aimdo_enabled = True
