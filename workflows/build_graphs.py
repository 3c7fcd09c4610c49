"""Lays out the graph-editor workflows from the API prompts beside them.

``python workflows/build_graphs.py [--server http://127.0.0.1:8188]`` reads each ``api/*.json`` and the node
descriptions of a running ComfyUI, and writes ``*.json`` with the same nodes, links and values. It is to be the oldest
release that the pack supports: newer editors read its graphs, and not the other way round. Workflows with nodes that it
has not are left as they are; name them in a second run with a newer one.
"""

from __future__ import annotations

import argparse
import json
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOTES = {
    "demo_three_prompts": "## Three prompts, one long video\nRuns as it is: the demo model comes with the pack and "
    "draws coloured shapes. 241 frames are made by a model of 61-frame clips.\n\n- Edit the lines of **Multi-Prompt "
    "Schedule**: `time: prompt`.\n- Change **length** in **Long Latent**; everything follows.\n- Watch the seams: "
    "overlap 0 and schedule *static* show what windows look like unmerged.",
    "demo_closed_loop": "## A video without an end\nRuns as it is, on the demo model. **closed_loop** lets windows go "
    "on at the first frame after the last, and **VAE Decode Loop** decodes the loop point with its past: 64 latent "
    "frames make 256 frames, and the last one flows into the first: the object goes round three times.",
    "demo_streaming": "## Chunk by chunk\nRuns as it is, on the demo model: each chunk of 61 frames goes on from the "
    "end of the one before. Finished chunks are kept in `output/long_video_runs/demo_streaming`: interrupt it and "
    "queue again, or change the last prompt, and only what is missing is made. **Save Long Video** decodes in pieces.",
    "demo_image_to_video": "## From one image\nRuns as it is: the left part makes an image with the demo model. With "
    "a model of your own put **Load Image** in its place. The image becomes the first frame; every chunk goes on from "
    "the end of the one before.",
    "demo_streamingt2v": "## StreamingT2V, small\nNeeds diffusers in ComfyUI's Python, and no download: a small "
    "StreamingT2V comes with the pack. Its first 16 frames are made from the text alone. Each later chunk sees the 8 "
    "frames before it through conditional attention (CAM), and the first frame of all as anchor (APM).\n\nChunks keep "
    "the way that they go on from, whatever a later prompt says. The text names all that there is to see; where it "
    "says less, the **anchor** keeps the looks. Finished chunks are kept in "
    "`output/long_video_runs/demo_streamingt2v`.",
    "demo_streamingt2v_image": "## StreamingT2V from frames of yours\nNeeds diffusers in ComfyUI's Python, and no "
    "download. The left part makes 16 frames with the small StreamingT2V that comes with the pack; they may come from "
    "any model or file. **Streaming Extend** goes on from them as pixels, and every chunk stays close to the "
    "**anchor_image**, the first of them.",
    "wan2.2_5B_streaming": "## 30 seconds of Wan 2.2 5B, three prompts, chunk by chunk\nFiles: "
    "`diffusion_models/wan2.2_ti2v_5B_fp16.safetensors`, `text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, "
    "`vae/wan2.2_vae.safetensors`.\n\nPeak memory is that of one 121-frame clip, whatever the length.",
    "wan2.2_5B_refine": "## A video of yours, sharper and larger\nFiles: "
    "`diffusion_models/wan2.2_ti2v_5B_fp16.safetensors`, `text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, "
    "`vae/wan2.2_vae.safetensors`. Choose your video in **Load Long Video** and say what it shows.\n\n**Refine Long "
    "Video** makes it 1920 x 1088 from noise to **strength** 0.35: chunks of 121 frames that change hands at random "
    "frames, seen in tiles of 1280 x 704. Peak memory is that of one tile of one chunk.",
    "streamingt2v_long": "## StreamingT2V: 240 frames of one scene\nNeeds diffusers in ComfyUI's Python. Files: "
    "`checkpoints/streaming_t2v.ckpt` (PAIR/StreamingT2V), and to refine it (damo/Video-to-Video) "
    "`diffusion_models/non_ema_0035000.pth` and `text_encoders/open_clip_pytorch_model.bin`.\n\n**Streaming Extend** "
    "has the paper's values: chunks of 16 frames, 8 of them seen again, and the first frame as anchor. Change the "
    "second prompt and queue again: only what follows is made. **Refine Long Video** makes 720 x 720 of 256 x 256, "
    "between bars that are cut off.",
    "wan2.2_5B_image_to_video": "## An image and 30 seconds of Wan 2.2 5B\nFiles: "
    "`diffusion_models/wan2.2_ti2v_5B_fp16.safetensors`, `text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, "
    "`vae/wan2.2_vae.safetensors`. Choose your image in **Load Image** and describe what happens in it.",
    "wan2.2_14B_three_prompts": "## 15 seconds of Wan 2.2 14B, three prompts\nFiles: "
    "`diffusion_models/wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors` and `..._low_noise_...`, "
    "`text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, `vae/wan_2.1_vae.safetensors`.\n\nTwo samplers share 20 "
    "steps: the model for high noise makes 10, the one for low noise the rest. The second goes on with the windows of "
    "step 10, so both have the same settings, and only **add_noise**, **start_at_step**, **end_at_step** and "
    "**return_with_leftover_noise** differ.",
    "wan2.2_14B_image_to_video": "## An image and 30 seconds of Wan 2.2 14B\nFiles: "
    "`diffusion_models/wan2.2_i2v_high_noise_14B_fp8_scaled.safetensors` and `..._low_noise_...`, "
    "`text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, `vae/wan_2.1_vae.safetensors`. Choose your image in "
    "**Load Image** and describe what happens in it.\n\nEach chunk of 81 frames is made by both models: the one for "
    "low noise goes on at **switch_at_step**. Anchor *first* shows every chunk the image again.",
    "wan2.1_vace_1.3B_depth": "## A video of yours in another look, 15 seconds\nFiles: "
    "`diffusion_models/wan2.1_vace_1.3B_fp16.safetensors`, `text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, "
    "`vae/wan_2.1_vae.safetensors`, and the folder `transformers/depth-anything/Depth-Anything-V2-Small-hf` as on "
    "Hugging Face (or switch on **allow_download**).\n\nChoose your video in **Load Long Video**. Its depth, measured "
    "over the whole clip, steers Wan VACE; each window gets its own part. Another **kind** steers by poses or soft "
    "edges.",
    "demo_depth_mix": "## One movement, three looks\nRuns as it is, on the demo model: the left part makes a video. "
    "With one of yours put **Load Long Video** in its place.\n\n**Grounded Mask** finds what is drawn; as an image it "
    "is a depth map, near bright. It steers the demo model's VACE branch, and the prompts change along the video. "
    "With a real model **Control Preprocess** makes the depth: see *wan2.1_vace_1.3B_depth*.",
    "demo_edit_anything": "## Edit anything\nRuns as it is, on the demo model: the left part makes a video of a red "
    "circle. With one of yours put **Load Long Video** in its place.\n\n**Grounded Mask** finds the circle in every "
    "frame, **VACE Conditioning** hides it, the model paints a blue square there, and **Composite Edit** puts it "
    "back: outside the mask the pixels are the first video's, bit for bit.",
    "demo_video_to_video": "## A video from its own noise\nRuns as it is, on the demo model: the left part makes a "
    "video. **Invert Long Latent** finds the noise that it comes from, with the edges of its frames as control; "
    "sampled with another colour word that noise makes a video that moves in the same way.\n\nThe inversion and the "
    "sampler have the same windows, steps and scheduler, and the sampler is *euler*. The sampler's control is twice "
    "as strong: by the noise alone this small model puts an object of another colour in another place.",
    "demo_pose_to_video": "## A video that follows a skeleton\nRuns as it is, on the demo model: the left part makes a "
    "video. With one of yours put **Load Long Video** in its place.\n\n**Control Preprocess** draws the pose of every "
    "frame. The demo model's objects have stick figures, from the centre to the corners, and its VACE branch follows "
    "them; for people choose the detector *openpose* or *vitpose*, and a model such as Wan VACE.",
    "wan2.1_vace_1.3B_edit_anything": "## Edit anything in a video of yours\nFiles: "
    "`diffusion_models/wan2.1_vace_1.3B_fp16.safetensors`, `text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, "
    "`vae/wan_2.1_vae.safetensors`, and the folders `transformers/IDEA-Research/grounding-dino-tiny` and "
    "`transformers/facebook/sam2.1-hiera-small` as on Hugging Face (or switch on **allow_download**).\n\nChoose your "
    "video in **Load Long Video**, say what to change in **Grounded Mask** and what to make of it in **CLIP Text "
    "Encode**. Outside the mask the pixels stay the video's own.",
    "sd1.5_control_video_to_video": "## Gen-L-Video: control\nFiles: "
    "`checkpoints/v1-5-pruned-emaonly-fp16.safetensors` (or another of SD 1.5), "
    "`controlnet/control_v11p_sd15_canny_fp16.safetensors`. Choose your video in **Load Long Video**.\n\n"
    "**Gen-L-Video Preset** has the paper's values: windows of 15 frames, 10 of 50 steps. They are inverted with an "
    "empty prompt and made again with yours; Canny edges of every frame steer both. **Cross-Frame Attention** ties "
    "the frames of a window together in the model and its ControlNet.",
    "sd2_depth_mix": "## Gen-L-Video: mix\nFiles: `checkpoints/512-depth-ema.safetensors`, and the folder "
    "`transformers/Intel/dpt-hybrid-midas` as on Hugging Face (or switch on **allow_download**). Choose your video in "
    "**Load Long Video**: 40 frames, as many prompts as it has windows without overlap (20 frames each).\n\nThe whole "
    "video is inverted with an empty prompt and its depth, and made again with the prompts.",
    "sd2_inpaint_edit_anything": "## Gen-L-Video: edit anything\nFiles: `checkpoints/512-inpainting-ema.safetensors`, "
    "`controlnet/edit-anything-v0-3.safetensors` (shgao/edit-anything-v0-3), and the folders "
    "`transformers/IDEA-Research/grounding-dino-tiny` and `transformers/facebook/sam-vit-huge` as on Hugging Face (or "
    "switch on **allow_download**).\n\nAs the paper's code: masks frame by frame, SAM's regions as control, nothing "
    "put back outside the mask. Put **Composite Edit** behind it to keep the rest of the video.",
    "ltx2.3_three_prompts": "## 30 seconds of LTX-2.3 with sound, three prompts\nFiles: "
    "`checkpoints/ltx-2.3-22b-dev-fp8.safetensors`, `text_encoders/gemma_3_12B_it_fp4_mixed.safetensors`, "
    "`loras/ltx_2.3_22b_distilled_1.1_lora_dynamic_fro09_avg_rank_111_bf16.safetensors`. Needs a ComfyUI with LTX-2.3."
    "\n\n**Long Latent** holds video and sound, by its **audio_vae**; each window of 121 frames has its part of both, "
    "so say in every prompt what is heard. At 25 fps a latent frame is 8 latents of the sound. Eight distilled steps "
    "at CFG 1: the negative prompt is not used.",
    "ltx2.3_image_to_video": "## An image and 30 seconds of LTX-2.3 with sound\nFiles: "
    "`checkpoints/ltx-2.3-22b-dev-fp8.safetensors`, `text_encoders/gemma_3_12B_it_fp4_mixed.safetensors`, "
    "`loras/ltx_2.3_22b_distilled_1.1_lora_dynamic_fro09_avg_rank_111_bf16.safetensors`. Needs a ComfyUI with LTX-2.3. "
    "Choose your image in **Load Image** and describe what happens in it, and what is heard.\n\nThe image goes into "
    "the video's part of the latent, where the noise mask keeps it. For another size change **Long Latent** and the "
    "image's scale.",
    "ltx2.3_control_video": "## A control video and 30 seconds of LTX-2.3 with sound\nFiles: "
    "`checkpoints/ltx-2.3-22b-dev-fp8.safetensors`, `text_encoders/gemma_3_12B_it_fp4_mixed.safetensors`, "
    "`loras/ltx_2.3_22b_distilled_1.1_lora_dynamic_fro09_avg_rank_111_bf16.safetensors` and "
    "`loras/ltx-2.3-22b-ic-lora-union-control-ref0.5.safetensors` (Lightricks/LTX-2.3-22b-IC-LoRA-Union-Control).\n\n"
    "Choose your video in **Load Long Video** and say what is to be seen and heard. Its edges steer the new video; the "
    "LoRA knows poses and depth too, by the **kind** of **Control Preprocess**. For another length change **length** in "
    "**Load Long Video** and **Long Latent**; **width** and **height** are multiples of 64, **short_side** is half of the "
    "shorter.\n\nEach window of 121 frames sees its own part of the control, which is half as large: peak memory is that "
    "of one such clip with a quarter more to attend to, whatever the length. The control is encoded as a whole, with "
    "about 4 MB of the computer's memory a frame.",
    "ltx2.3_extend": "## A video of yours goes on, with its sound, on LTX-2.3\nFiles: "
    "`checkpoints/ltx-2.3-22b-dev-fp8.safetensors`, `text_encoders/gemma_3_12B_it_fp4_mixed.safetensors`, "
    "`loras/ltx_2.3_22b_distilled_1.1_lora_dynamic_fro09_avg_rank_111_bf16.safetensors`. Needs a ComfyUI with LTX-2.3."
    "\n\nChoose your video in **Load Long Video**; **Long Latent** says how long it is to be in the end. The first "
    "prompt says what is seen and heard in your video, the others what follows. Every chunk of 121 frames goes on from "
    "the end of the video and of its sound.",
    "minimax_h3_extend": "## A video of yours goes on, with its sound, on MiniMax H3\nFiles: "
    "`diffusion_models/minimax_h3_fl2va_pruned_int8_convrot.safetensors`, "
    "`text_encoders/qwen3vl_32b_minimax_h3_nvfp4_awq.safetensors`, `vae/minimax_h3_video_vae_fp16.safetensors` and "
    "`vae/minimax_h3_audio_vae_fp32.safetensors`.\n\nChoose your video in **Load Long Video**, which reads it at 24 "
    "fps; of it 17 n + 5 frames are kept. **Long Latent** says how long it is to be in the end. The first prompt says "
    "what is seen and heard in your video, the others what follows. Every chunk of 192 frames knows the last 39 and "
    "their sound.",
    "minimax_h3_three_prompts": "## 30 seconds of MiniMax H3 with sound, three prompts\nFiles: "
    "`diffusion_models/minimax_h3_fl2va_pruned_int8_convrot.safetensors`, "
    "`text_encoders/qwen3vl_32b_minimax_h3_nvfp4_awq.safetensors`, `vae/minimax_h3_video_vae_fp16.safetensors` and "
    "`vae/minimax_h3_audio_vae_fp32.safetensors`.\n\nWindows of 192 frames, 153 apart, which the model takes for parts "
    "of one video; their latents hold sound by themselves. Keep 24 fps and CFG 1: the negative input is not used.",
    "minimax_h3_image_to_video": "## An image and 30 seconds of MiniMax H3 with sound\nFiles: "
    "`diffusion_models/minimax_h3_fl2va_pruned_int8_convrot.safetensors`, "
    "`text_encoders/qwen3vl_32b_minimax_h3_nvfp4_awq.safetensors`, `vae/minimax_h3_video_vae_fp16.safetensors` and "
    "`vae/minimax_h3_audio_vae_fp32.safetensors`. Choose your image in **Load Image**; the prompt calls it "
    "*<Picture 1>*.\n\nEvery window reads of the image in its prompt, and the first one has it as its first frame. "
    "**length** may be 17 n + 5 frames, up to 3592. For another size change the image's scale and the node behind it.",
    "wan2.1_1.3B_three_prompts": "## 15 seconds of Wan 2.1 1.3B, three prompts\nFiles: "
    "`diffusion_models/wan2.1_t2v_1.3B_fp16.safetensors`, `text_encoders/umt5_xxl_fp8_e4m3fn_scaled.safetensors`, "
    "`vae/wan_2.1_vae.safetensors`.\n\nWindows of 81 frames, as the model was trained. Peak memory is that of one "
    "81-frame clip: set **windows_per_forward** to 1 on small cards.",
    "follow_your_pose_long": "## A long video that follows a skeleton\nFiles: the folder "
    "`diffusers/FollowYourPose_v1` as on Hugging Face (of it `followyourpose_checkpoint-1000/pytorch_model.bin` and "
    "`pose_encoder.pth`), and for CLIP and VAE `checkpoints/v1-5-pruned-emaonly-fp16.safetensors`.\n\nChoose a video "
    "of skeletons on black, as mmpose draws them, in **Load Long Video**; it is read at 10 fps, as in Gen-L-Video's "
    "example. Each window of 16 frames gets its own skeletons. For several prompts put **Multi-Prompt Schedule** in "
    "the place of the positive prompt.",
}
_MENU = "COMFY_DYNAMICCOMBO_V3"  # a choice that brings inputs of its own
_WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO", _MENU}
_COLUMN, _GAP = 380, 40
#: Room below a node that grows by an image as it runs.
_PREVIEW = {"CoDenoiseKSampler": 320, "SamplerCustomAdvanced": 320, "StreamingExtend": 320}


def is_widget(spec: list) -> bool:
    """Whether an input of /object_info is a widget (a value to type or choose)."""
    return isinstance(spec[0], list) or spec[0] in _WIDGETS


def type_of(spec: list) -> str:
    """The type of an input for a link."""
    return "COMBO" if isinstance(spec[0], list) else spec[0]


def specs_of(described: dict, values: dict, prefix: str = "") -> dict[str, list]:
    """A node's inputs in the editor's order, those that its menus bring among them."""
    specs = {}
    for key, spec in {**described.get("required", {}), **described.get("optional", {})}.items():
        name = f"{prefix}{key}"
        specs[name] = spec
        if spec[0] == _MENU:
            options = spec[1]["options"]
            chosen = next((each for each in options if each["key"] == values.get(name)), options[0])
            specs.update(specs_of(chosen["inputs"], values, f"{name}."))
    return specs


def depth(prompt: dict, name: str) -> int:
    """Column of a node: one right of the rightmost node it reads from."""
    sources = [value[0] for value in prompt[name]["inputs"].values() if isinstance(value, list)]
    return 1 + max((depth(prompt, source) for source in sources), default=-1)


def build(prompt: dict, info: dict, note: str) -> dict:
    """A graph-editor workflow with the nodes, links and values of an API prompt."""
    links: list[list] = []
    nodes: dict[str, dict] = {}
    heights: dict[int, int] = {}
    for name in sorted(prompt, key=int):
        node = prompt[name]
        description = info[node["class_type"]]
        specs = specs_of(description["input"], node["inputs"])
        column = depth(prompt, name)
        inputs, values = [], []
        for key, spec in specs.items():
            value = node["inputs"].get(key)
            linked = isinstance(value, list)
            options = spec[1] if len(spec) > 1 else {}
            entry = {"name": key, "type": type_of(spec), "link": None}
            if is_widget(spec):
                entry["widget"] = {"name": key}
                default = options.get("default", spec[0][0] if isinstance(spec[0], list) and spec[0] else None)
                values.append(default if linked or value is None else value)
                if options.get("control_after_generate"):
                    values.append("fixed")
            if linked or not is_widget(spec):
                inputs.append(entry)
        rows = len(inputs) + len(values)
        multiline = any(spec[0] == "STRING" and len(spec) > 1 and spec[1].get("multiline") for spec in specs.values())
        height = 60 + 26 * rows + (150 if multiline else 0)
        nodes[name] = {
            "id": int(name),
            "type": node["class_type"],
            "pos": [column * (_COLUMN + _GAP), heights.get(column, 0)],
            "size": [_COLUMN, height],
            "flags": {},
            "order": len(nodes),
            "mode": 0,
            "inputs": inputs,
            "outputs": [
                {"name": label, "type": kind, "links": []}
                for label, kind in zip(description["output_name"], description["output"], strict=True)
            ],
            "properties": {"Node name for S&R": node["class_type"]},
            "widgets_values": values,
        }
        heights[column] = heights.get(column, 0) + height + _GAP + 30 + _PREVIEW.get(node["class_type"], 0)
    for name, node in prompt.items():
        for entry in nodes[name]["inputs"]:
            value = node["inputs"].get(entry["name"])
            if isinstance(value, list):
                source, slot = value
                entry["link"] = len(links) + 1
                nodes[source]["outputs"][slot]["links"].append(len(links) + 1)
                links.append([len(links) + 1, int(source), slot, int(name), nodes[name]["inputs"].index(entry),
                              nodes[source]["outputs"][slot]["type"]])  # fmt: skip
    text = {
        "id": 100, "type": "MarkdownNote", "pos": [0, -300], "size": [2 * _COLUMN, 250], "flags": {}, "order": 0,
        "mode": 0, "inputs": [], "outputs": [], "properties": {}, "widgets_values": [note],
    }  # fmt: skip
    return {
        "last_node_id": 100, "last_link_id": len(links), "nodes": [text, *nodes.values()], "links": links,
        "groups": [], "config": {}, "extra": {}, "version": 0.4,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="http://127.0.0.1:8188", help="address of a running ComfyUI with the pack")
    parser.add_argument("names", nargs="*", help="workflows (default: all)")
    given = parser.parse_args()
    with urllib.request.urlopen(f"{given.server}/object_info") as answer:
        info = json.load(answer)
    paths = {path.stem: path for path in sorted((HERE / "api").glob("*.json"))}
    if unexplained := set(paths) - set(NOTES):
        parser.error(f"NOTES has no text for {', '.join(sorted(unexplained))}. Write what is shown beside the graph.")
    if unknown := set(given.names) - set(paths):
        parser.error(f"There is no {', '.join(sorted(unknown))} in {HERE / 'api'}.")
    for name in given.names or paths:
        path = paths[name]
        prompt = json.loads(path.read_text(encoding="utf-8"))
        if missing := {node["class_type"] for node in prompt.values()} - set(info):
            print(f"{name} is left as it is: this ComfyUI has no {', '.join(sorted(missing))}.")
            continue
        graph = build(prompt, info, NOTES[name])
        (HERE / path.name).write_text(json.dumps(graph, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
