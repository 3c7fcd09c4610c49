"""Tiny models with random weights in the public layout, and what the nodes that look at images share. Runs inside
ComfyUI."""

import gc
import json
import os
import pathlib
import shutil

import folder_paths
import torch
import transformers


def models_folder() -> pathlib.Path:
    from long_video_pack.glv_core.hosts.comfy.vision import vision_models

    return pathlib.Path(folder_paths.get_folder_paths(vision_models.FOLDER)[0])


def anonymous_memory() -> float:
    """MB of this process that belong to no file."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def mapped_memory() -> dict:
    from long_video_pack.glv_core.hosts.comfy.video.memory_mapped import memory_mapped_zeros

    before = anonymous_memory()
    tensor = memory_mapped_zeros((600, 512, 256, 1))
    for part in tensor.split(20):
        part.fill_(0.5)
    part = tensor[-1]
    grown = anonymous_memory() - before
    files = os.listdir(folder_paths.get_temp_directory())
    result = {
        "grown": grown, "files": [name for name in files if name.startswith("frames_")],
        "mean": float(tensor.mean()), "shape": list(tensor.shape),
        "small": float(memory_mapped_zeros((3, 4)).abs().max()),
    }  # fmt: skip
    del tensor
    gc.collect()
    part += 1
    return result | {"view": float(part.mean())}


def no_room() -> str:
    from long_video_pack.glv_core.hosts.comfy.video.memory_mapped import memory_mapped_zeros

    try:
        memory_mapped_zeros((10_000_000, 1024, 1024))
    except ValueError as error:
        return str(error)
    return "made"


def make_vit(name: str) -> pathlib.Path:
    """A tiny classifier, which stands for any model."""
    folder = models_folder() / name
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=16
    )
    with torch.inference_mode(False):
        transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def loading() -> dict:
    """A model is found, loaded once, unloaded by the host, and then loaded anew."""
    import comfy.model_management
    from long_video_pack.glv_core.hosts.comfy.vision import vision_models

    make_vit("someone/tiny-vit")
    other = make_vit("someone/of-another-type")
    settings = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**settings, "model_type": "another"}))
    # Other tests put models beside these.
    names = [
        name for name in vision_models.list_models(["vit"]) if name in ("someone/tiny-vit", "someone/of-another-type")
    ]
    folder = vision_models.find_model("someone/tiny-vit", ["vit"], ["preprocessor_config.json"])
    classes = ("ViTForImageClassification", "ViTImageProcessor")
    model = vision_models.load_vision_model(folder, *classes)
    again = vision_models.load_vision_model(folder, *classes)
    model.use()
    inputs = model.processor(torch.rand(3, 40, 50), do_rescale=False, return_tensors="pt")
    logits = model.model(**inputs.to(model.device)).logits
    known = any(loaded.model is model.patcher for loaded in comfy.model_management.current_loaded_models)
    comfy.model_management.unload_all_models()
    gone = all(loaded.model is not model.patcher for loaded in comfy.model_management.current_loaded_models)
    after = vision_models.load_vision_model(folder, *classes)
    after.use()
    same = torch.equal(after.model(**inputs).logits, logits)
    for number in range(vision_models.KEPT):
        other = make_vit(f"someone/other-{number}")
        vision_models.load_vision_model(other, *classes).use()
    listed = any(loaded.model is model.patcher for loaded in comfy.model_management.current_loaded_models)
    last = vision_models.load_vision_model(folder, *classes)
    return {
        "names": names, "same": again is model, "known": known, "gone": gone, "kept": after is model and same,
        "anew": last is not model and not listed,
        "logits": list(logits.shape), "dtype": str(model.dtype),
    }  # fmt: skip


def refused(name: str, allow_download: bool = False, broken: str = "") -> str:
    from long_video_pack.glv_core.hosts.comfy.vision import vision_models

    files = ["preprocessor_config.json"]
    if broken:
        folder = make_vit(name)
        if broken == "pickle":
            (folder / "model.safetensors").unlink()
            torch.save({"weight": pathlib.PurePosixPath("x")}, folder / "pytorch_model.bin")
        elif broken == "type":
            config = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
        elif broken == "backbone":
            config = json.loads((folder / "config.json").read_text())
            config |= {"backbone": "microsoft/resnet-50", "use_pretrained_backbone": True}
            (folder / "config.json").write_text(json.dumps(config))
        elif broken == "shards":
            (folder / "model.safetensors").unlink()
            index = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        else:
            (folder / broken).unlink(missing_ok=True)
    try:
        os.environ["HF_HUB_OFFLINE"] = "1"
        import huggingface_hub.constants

        huggingface_hub.constants.HF_HUB_OFFLINE = True
        folder = vision_models.find_model(name, ["vit"], files, allow_download, "detector")
        model_class = "ViTFromTheFuture" if name == "future" else "ViTForImageClassification"
        vision_models.load_vision_model(folder, model_class, "ViTImageProcessor")
    except ValueError as error:
        return str(error)
    return "loaded"


def lacking(what: str) -> str:
    """A model whose file lacks weights: its head, all under their names, or the layer that DPT's files lack."""
    import safetensors.torch
    import tiny_controls
    from long_video_pack.glv_core.hosts.comfy.vision import vision_models

    names = {"head": tiny_controls.segformer(150), "names": tiny_controls.segformer(150), "unused": tiny_controls.dpt()}
    whole, folder = models_folder() / names[what], models_folder() / f"lacking-{what}"
    shutil.copytree(whole, folder)
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    if what == "head":
        weights = {name: weight for name, weight in weights.items() if not name.startswith("decode_head.")}
    elif what == "names":
        weights = {f"other.{name}": weight for name, weight in weights.items()}
    else:
        weights = {name: weight for name, weight in weights.items() if "layers.0.residual_layer1" not in name}
    assert set(weights) != set(safetensors.torch.load_file(folder / "model.safetensors"))
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    kind = "DepthEstimation" if what == "unused" else "SemanticSegmentation"
    try:
        vision_models.load_vision_model(folder, f"AutoModelFor{kind}", "AutoImageProcessor")
    except ValueError as error:
        return str(error)
    return "loaded"


def naming_of_files() -> list[list[str]]:
    """What becomes of errors of files: of the built-in ones, and of one of PyAV, which takes other arguments."""
    import av
    from long_video_pack.nodes.errors import naming

    found = []
    for error in (FileNotFoundError("gone"), OSError("damaged"), av.error.PermissionError(13, "no", "a.mp4")):
        try:
            with naming("Node"):
                raise error
        except OSError as named:
            found.append([type(named).__module__, type(named).__name__, str(named)])
    return found
