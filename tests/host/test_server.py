"""The pack in a running ComfyUI: what the API describes, and the shipped workflow from prompt to video."""

import io
import json
import shutil
import time
from pathlib import Path
from urllib.parse import quote

import av
import numpy as np
import pytest
from comfyui_hosts import api_prompt, hosts, inputs_of, skip_without_model, start_server

from glv_core.demo.detector import expected, read_clip, read_frames
from glv_core.prompts import parse_schedule

ROOT = Path(__file__).resolve().parents[2]
NODES = [
    "LongLatent", "MultiPromptSchedule", "CoDenoiseKSampler", "CoDenoiseModel", "CoDenoisePhase", "WindowPlan",
    "LongNoise", "VAEDecodeLoop", "LoadVideoPipeline", "StreamingExtend", "LoadLongVideo", "EncodeLongVideo",
    "SaveLongVideo", "GroundedMask", "SamIdMap", "ControlPreprocess", "InvertLongLatent", "GenLVideoPreset",
    "TuningPreset",
    "CrossFrameAttention", "LoadFollowYourPose", "CompositeEdit", "LongVaceConditioning", "DepthConcat",
    "LongInpaintConditioning", "RefineLongVideo", "LoadMSVid2Vid", "MSVid2VidSigmas", "LoadStreamingT2V",
    "AnchorGuidance", "LoadStreamingSVD", "LoadI2VGenXL", "I2VGenXLConditioning", "ChunkKeyFrames",
    "TuneOnVideo", "LoadTuning",
]  # fmt: skip
pytestmark = pytest.mark.every_host
API_PROMPTS = sorted((ROOT / "workflows" / "api").glob("*.json"))


@pytest.mark.parametrize("node", NODES)
def test_object_info_describes_every_node_with_a_tooltip_on_every_input_and_output(server, node):
    info = server.get(f"/object_info/{node}")
    assert node in info, server.log.read_text()[-3000:]
    info = info[node]
    assert info["description"] and info["display_name"] and info["category"].startswith("long video/")
    inputs = inputs_of(info["input"])
    missing = [name for name, (_, spec) in inputs.items() if not (len(spec) > 1 and spec[1].get("tooltip"))]
    assert not missing
    assert all(info["output_tooltips"])


LONGEST_TOOLTIP, LONGEST_NAME = 160, 25  #: characters: what is read at a glance, and a title bar of the usual width


def tooltips_in(described):
    """Inputs and their tooltips, with those of every entry of a menu."""
    for name, spec in (each for kind in ("required", "optional") for each in described.get(kind, {}).items()):
        yield name, spec[1]["tooltip"]
        if spec[0] == "COMFY_DYNAMICCOMBO_V3":
            for option in spec[1]["options"]:
                yield from tooltips_in(option["inputs"])


def test_tooltips_are_short_and_names_fit_their_title_bar(server):
    long = {}
    for node in NODES:
        info = server.get(f"/object_info/{node}")[node]
        tooltips = [*tooltips_in(info["input"]), *zip(info["output_name"], info["output_tooltips"], strict=True)]
        long |= {(node, name): text for name, text in tooltips if len(text) > LONGEST_TOOLTIP}
        long |= {node: info["display_name"]} if len(info["display_name"]) > LONGEST_NAME else {}
    assert long == {}


SEARCHED = (
    "inpaint", "video2video", "v2v", "resume", "svi", "framepack", "prompt relay", "context window", "context options",
    "extend", "long video", "loop",
)  # fmt: skip


def test_what_people_search_for_finds_a_node(server):
    words = {node: server.get(f"/object_info/{node}")[node].get("search_aliases") or [] for node in NODES}
    assert [node for node, given in words.items() if not given] == []
    found = {each for given in words.values() for each in given}
    assert [word for word in SEARCHED if word not in found] == []


def test_the_main_nodes_are_among_the_essentials_where_the_host_has_any(server):
    infos = [server.get(f"/object_info/{node}")[node] for node in NODES]
    if "essentials_category" not in infos[0]:
        pytest.skip("this ComfyUI has no essentials")
    main = {info["name"] for info in infos if info["essentials_category"]}
    assert main == {
        "LoadVideoPipeline", "LongLatent", "MultiPromptSchedule", "CoDenoiseKSampler", "StreamingExtend",
        "LoadLongVideo", "EncodeLongVideo", "SaveLongVideo",
    }  # fmt: skip


def test_every_node_has_a_help_page(server):
    for node in NODES:
        page = server.fetch(f"/extensions/long_video_pack/docs/{node}.md").decode()
        info = server.get(f"/object_info/{node}")[node]
        inputs = inputs_of(info["input"])
        assert [name for name in inputs if f"`{name}`" not in page] == []


def test_the_template_browser_lists_every_workflow_with_a_thumbnail(server):
    listed = server.get("/workflow_templates")["long_video_pack"]
    names = [path.stem for path in API_PROMPTS]
    assert sorted(listed) == sorted(names)
    for name in names:
        assert server.fetch(f"/api/workflow_templates/long_video_pack/{quote(name)}.jpg")[:2] == b"\xff\xd8"
        assert server.get(f"/api/workflow_templates/long_video_pack/{quote(name)}.json")["nodes"]


@pytest.fixture(scope="module")
def demo_run(server):
    prompt = api_prompt("Demo 01")
    history, messages = server.run(prompt)
    return prompt, history, messages


def test_the_demo_workflow_shows_progress_by_windows_with_previews(demo_run):
    _, history, messages = demo_run
    assert history["status"]["status_str"] == "success"
    bars = [m["data"] for m in messages if not isinstance(m, bytes) and m["type"] == "progress"]
    sampler = [bar for bar in bars if bar["node"] == "7"]
    assert {bar["max"] for bar in sampler} == {max(bar["max"] for bar in sampler)}
    assert sampler[0]["max"] > 14 * 4  # steps times the fewest windows
    values = [bar["value"] for bar in sampler]
    assert values == sorted(values) and values[-1] == sampler[0]["max"]
    previews = [m for m in messages if isinstance(m, bytes) and b"\xff\xd8\xff" in m[:200]]
    assert len(previews) >= 14
    assert any(isinstance(m, bytes) and b"window" in m for m in messages)


def video_of(server, history, node="11"):
    """Frames ``t h w c`` (uint8) and frames per second of the video that the workflow saved."""
    saved = history["outputs"][node]["images"][0]
    data = server.fetch(f"/view?filename={saved['filename']}&subfolder={saved['subfolder']}&type={saved['type']}")
    with av.open(io.BytesIO(data)) as video:
        fps = video.streams.video[0].average_rate
        return np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]), fps


def test_the_demo_workflow_makes_a_long_video_that_moves(server, demo_run):
    prompt, history, _ = demo_run
    frames, fps = video_of(server, history)
    assert frames.shape == (241, 256, 256, 3) and fps == 16
    assert np.abs(np.diff(frames.astype(int), axis=0)).mean(axis=(1, 2, 3)).min() > 0
    schedule = parse_schedule(prompt["5"]["inputs"]["prompts"], num_frames=241, fps=16)
    for segment in schedule.segments:
        # The most frequent gray level of the segment's middle frame is the background that its prompt names.
        middle = frames[int(segment.start + segment.end) // 2].mean(axis=2)
        level = {"white": 255, "black": 0, "gray": 128}[expected(segment.prompt)["background"]]
        assert abs(np.median(middle) - level) < 25


def test_the_demo_workflow_makes_the_video_that_its_prompts_describe(server, demo_run):
    prompt, history, _ = demo_run
    frames, _ = video_of(server, history)
    assert share_that_agrees(frames, prompt["5"]["inputs"]["prompts"], 241) >= 0.95


def test_the_closed_loop_workflow_makes_a_loop(server):
    prompt = api_prompt("Demo 02")
    history, _ = server.run(prompt)
    frames, fps = video_of(server, history)
    count = len(frames)
    assert count % 4 == 0 and frames.shape[1:] == (256, 256, 3) and fps == 16
    assert share_that_agrees(frames, prompt["5"]["inputs"]["prompts"], count, margin=0) >= 0.95
    small = frames[:, 2::4, 2::4].astype(int)
    # The step from the last frame to the first, among all steps of the loop.
    steps = np.abs(np.diff(small, axis=0, append=small[:1])).mean(axis=(1, 2, 3))
    assert steps.min() > 0
    assert steps[-4:].mean() < 1.5 * steps[:-4].mean()


def share_that_agrees(frames, text, num_frames, margin=30):
    """Share of frames, away from transitions, whose colour and shape the detector reads as the timeline says."""
    small = frames.reshape(num_frames, 64, 4, 64, 4, 3).mean(axis=(2, 4)) / 255
    readings = read_frames(small)
    agreeing = []
    for segment in parse_schedule(text, num_frames=num_frames, fps=16).segments:
        wanted = expected(segment.prompt)
        first = segment.start if segment.start == 0 else segment.start + margin
        last = segment.end if segment.end == num_frames else segment.end - margin
        agreeing += [
            reading.colour == wanted["colour"] and reading.shape == wanted["shape"]
            for reading in readings[int(first) : int(last)]
        ]
    return sum(agreeing) / len(agreeing)


PLACES = {
    "checkpoint": "models/checkpoints",
    "unet_name": "models/diffusion_models", "clip_name": "models/text_encoders", "vae_name": "models/vae",
    "image": "input", "file": "input", "ckpt_name": "models/checkpoints", "folder": "models/diffusers",
    "control_net_name": "models/controlnet", "lora_name": "models/loras", "text_encoder": "models/text_encoders",
}  # fmt: skip
INSIDE = {"folder": "pytorch_model.bin"}  # what is named is a folder, with this file in it


@pytest.mark.parametrize("path", API_PROMPTS, ids=lambda path: path.stem)
def test_every_api_prompt_is_valid(server, path):
    """The server takes it, with empty files under the names of those that it does not ship."""
    skip_without_model(server, path.stem)
    prompt = json.loads(path.read_text())
    for node in prompt.values():
        for name, folder in PLACES.items():
            file = node["inputs"].get(name)
            if isinstance(file, str):
                place = server.base / folder / file / INSIDE.get(name, "")
                place.parent.mkdir(parents=True, exist_ok=True)
                place.touch()
    status, answer = server.post("/prompt", {"prompt": prompt})
    assert status == 200, answer
    assert answer["node_errors"] == {}
    server.post("/queue", {"clear": True})
    server.post("/interrupt", {})
    for _ in range(600):
        if not server.get("/prompt")["exec_info"]["queue_remaining"]:
            break
        time.sleep(0.1)


def test_a_run_that_was_stopped_goes_on_in_the_same_comfyui_and_after_a_restart(comfyui, tmp_path):
    """The stop button after the first chunks, the queue again, and the queue again in a new process."""
    prompt = api_prompt("Demo 03")
    prompt["7"]["inputs"]["steps"] = 2
    prompt["9"] = {"class_type": "PreviewAny", "inputs": {"source": ["7", 1]}}
    del prompt["8"]

    def second_chunk(message):
        return message["type"] == "progress" and message["data"]["node"] == "7" and chunks_in(server.base) >= 2

    server = start_server(comfyui, tmp_path)
    try:
        history, _ = server.run(prompt, until=second_chunk)
        assert history["status"]["status_str"] == "error"  # what the host calls a run that was stopped
        made = chunks_in(tmp_path)
        assert made >= 2
        history, _ = server.run(prompt)
        assert f"{made} chunks were found" in history["outputs"]["7"]["text"][0]
    finally:
        server.close()
    server = start_server(comfyui, tmp_path)
    try:
        history, _ = server.run(prompt)
        assert f"{chunks_in(tmp_path)} chunks were found" in history["outputs"]["7"]["text"][0]
        assert chunks_in(tmp_path) > made
    finally:
        server.close()


def chunks_in(base):
    return len([path for path in base.glob("output/long_video_runs/**/*.safetensors") if path.name.startswith("chunk")])


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ({"kind": "seg"}, "kind.model"),
        ({"kind": "depth"}, "kind.model"),
        ({"kind": "pose", "kind.detector": "vitpose"}, "kind.detector.pose_model"),
    ],
)
def test_optional_inputs_of_a_menu_may_be_left_out(server, kind, model):
    info = server.get("/object_info/ControlPreprocess")["ControlPreprocess"]["input"]
    inputs = dict(kind)
    for name, (needed, spec) in inputs_of(info, kind).items():
        if needed and name not in inputs and name not in ("images",):
            options = spec[1].get("options") or (spec[0] if isinstance(spec[0], list) else None)
            inputs[name] = spec[1].get("default", options[0] if options else None)
    assert not [name for name in inputs if name.endswith("_id")]
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 2, "color": 0}},
        "2": {"class_type": "ControlPreprocess", "inputs": {"images": ["1", 0], **inputs}},
        "3": {"class_type": "PreviewImage", "inputs": {"images": ["2", 0]}},
    }
    _, messages = server.run(prompt, fails=True)
    errors = [m["data"] for m in messages if not isinstance(m, bytes) and m["type"] == "execution_error"]
    # The model is not there and may not be fetched: the node says so, by its name.
    assert len(errors) == 1
    message = errors[0]["exception_message"]
    assert f"is {inputs[model]!r}, which is not complete" in message and "allow_download" in message


@pytest.mark.parametrize(("name", "num_frames"), [("Demo 03", 401), ("Demo 04", 301)])
def test_streaming_workflows_run_as_shipped_and_are_found_again(server, name, num_frames):
    shutil.rmtree(server.base / "output" / "long_video_runs", ignore_errors=True)
    prompt = api_prompt(name)
    history, messages = server.run(prompt)
    assert history["status"]["status_str"] == "success"
    frames, fps = video_of(server, history, "8")
    assert frames.shape == (num_frames, 256, 256, 3) and fps == 16
    assert share_that_agrees(frames, prompt["5"]["inputs"]["prompts"], num_frames) >= 0.95
    report = history["outputs"]["7"]["text"][0]
    assert "clean frames" in report and "0 chunks were found" in report
    bars = [m["data"] for m in messages if not isinstance(m, bytes) and m["type"] == "progress"]
    values = [bar["value"] for bar in bars if bar["node"] == "7"]
    assert values == sorted(values) and values[-1] == [bar for bar in bars if bar["node"] == "7"][-1]["max"]
    assert any(isinstance(m, bytes) and b"Chunk 2/" in m for m in messages)
    # With another value of an input that has no part in these chunks, so that the host runs the node again.
    again = {number: node for number, node in prompt.items() if number != "8"}
    again["20"] = {
        "class_type": "SaveLongVideo",
        "inputs": {**api_prompt(name)["8"]["inputs"],
                   "format": "mkv", "crf": 30},
    }  # fmt: skip
    again["7"]["inputs"]["window_overlap"] = 15
    history, _ = server.run(again)
    report = history["outputs"]["7"]["text"][0]
    assert " 0 chunks were found" not in report and "chunks were found" in report
    other, _ = video_of(server, history, "20")
    assert other.shape == frames.shape
    assert np.abs(other.astype(int) - frames.astype(int)).mean() < 8


def test_the_tuning_workflow_runs_and_goes_on(server):
    """As shipped, but for how long it learns and how long the video is."""
    shutil.rmtree(server.base / "output" / "tuning", ignore_errors=True)
    few = {"steps": 2, "preview_every": 1, "batch_size": 1}
    prompt = with_inputs("Demo 11", TuneOnVideo=few, LongLatent={"length": 61}, CoDenoiseKSampler={"steps": 2})
    history, messages = server.run(prompt)
    assert history["status"]["status_str"] == "success"
    frames, fps = video_of(server, history, "10")
    assert frames.shape == (61, 256, 256, 3) and fps == 16
    assert "2 steps" in history["outputs"]["6"]["text"][0]
    [file] = (server.base / "output" / "loras").glob("demo_star_*_2.safetensors")
    bars = [m["data"] for m in messages if not isinstance(m, bytes) and m["type"] == "progress"]
    assert [(bar["value"], bar["max"]) for bar in bars if bar["node"] == "6"][-1] == (2, 2)
    assert any(isinstance(m, bytes) and b"loss" in m for m in messages)
    assert file.name in str(server.get("/object_info/LoadTuning")["LoadTuning"]["input"]["required"]["file"])
    prompt["6"]["inputs"]["steps"] = 3
    # its file is linked to the menu of a loader, which did not have it when the prompt was checked
    [sampler] = (node for node in prompt.values() if node["class_type"] == "CoDenoiseKSampler")
    loaded = {"model": prompt["6"]["inputs"]["model"], "file": ["6", 1], "strength": 1.0, "identifiers": "off"}
    prompt["30"] = {"class_type": "LoadTuning", "inputs": loaded}
    prompt["31"] = {
        "class_type": "LoraLoaderModelOnly",
        "inputs": {"model": ["30", 0], "lora_name": ["6", 1], "strength_model": 0.0},
    }
    sampler["inputs"]["model"] = ["31", 0]
    history, _ = server.run(prompt)
    assert history["status"]["status_str"] == "success"
    assert "2 of them found from before" in history["outputs"]["6"]["text"][0]


@pytest.mark.parametrize(("name", "num_frames"), [("Demo 09", 80), ("Demo 10", 72)])
def test_the_workflows_of_the_built_in_streamingt2v_show_their_prompts(comfyui, server, name, num_frames):
    if comfyui != hosts()[0]:
        pytest.skip("a minute each, and the same in every ComfyUI: made in the newest")
    shutil.rmtree(server.base / "output" / "long_video_runs", ignore_errors=True)
    prompt = api_prompt(name)
    history, _ = server.run(prompt)
    assert "conditional attention" in history["outputs"]["5"]["text"][0]
    frames, fps = video_of(server, history, "6")
    assert frames.shape == (num_frames, 256, 256, 3) and fps == 8
    text = prompt["3"]["inputs"]["prompts"]
    assert share_that_agrees(frames, text, num_frames, margin=8) >= 0.9
    for segment in parse_schedule(text, num_frames=num_frames, fps=8).segments:
        part = frames[int(segment.start) + (8 if segment.start else 0) : int(segment.end) - 8]
        seen = read_clip(part.reshape(len(part), 64, 4, 64, 4, 3).mean(axis=(2, 4)) / 255)
        assert seen.direction == expected(segment.prompt)["direction"], segment.prompt


def test_a_saved_video_carries_its_workflow(server):
    prompt = {
        "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 4, "color": 255}},
        "2": {"class_type": "SaveLongVideo", "inputs": {
            "images": ["1", 0], "fps": 8.0, "filename_prefix": "video/meta", "format": "mp4", "codec": "auto",
            "crf": 18, "pixel_format": "yuv420p"}},
    }  # fmt: skip
    history, _ = server.run(prompt)
    saved = history["outputs"]["2"]["images"][0]
    assert history["outputs"]["2"]["animated"] == [True]
    path = server.base / "output" / saved["subfolder"] / saved["filename"]
    with av.open(str(path)) as video:
        assert json.loads(video.metadata["prompt"]) == prompt
        assert video.streams.video[0].frames == 4


@pytest.mark.parametrize(
    ("node", "inputs", "words"),
    [
        ("7", {"schedule": "zigzag"}, ["zigzag"]),
        ("7", {"overlap": 61}, ["overlap is 61 frames and window 61", "Lower overlap"]),
        ("7", {"window": 0}, ["window is 0"]),
        ("7", {"steps": 0}, ["steps"]),
        ("5", {"prompts": "0: a\n12x: b"}, ["line 2, column 3", "^"]),
        ("5", {"prompts": ""}, ["there is no prompt"]),
        ("5", {"prompts": "0: a\n99: b", "length": 49, "fps": 16.0}, ["line 2", "outside the video"]),
        ("4", {"unit": "hours"}, ["hours"]),
    ],
)
def test_bad_values_come_back_as_clear_errors_before_anything_runs(server, node, inputs, words):
    prompt = api_prompt("Demo 01")
    prompt[node]["inputs"].update(inputs)
    del prompt["12"]  # the window plan, which would be drawn all the same
    status, answer = server.post("/prompt", {"prompt": prompt})
    assert status == 400
    message = json.dumps(answer["node_errors"][node])
    assert all(word in message for word in words), message


def test_a_number_that_no_input_takes_is_refused_at_once(server):
    """ComfyUI looks at the range of no input that a node's own check names, and this one would not end."""
    prompt = api_prompt("Demo 03")
    [node] = [key for key, each in prompt.items() if each["class_type"] == "StreamingExtend"]
    prompt[node]["inputs"]["chunk"] = 2**80
    status, answer = server.post("/prompt", {"prompt": prompt})
    assert status == 400
    assert f"chunk is {2**80}; it must be 2 to 100000" in json.dumps(answer["node_errors"][node])


def refused(server, prompt):
    """The errors of a prompt that the server does not take: node -> input -> what is said of it."""
    status, answer = server.post("/prompt", {"prompt": prompt})
    assert status == 400, answer
    found = {}
    for node, each in answer["node_errors"].items():
        names = [error["extra_info"]["input_name"] for error in each["errors"]]
        assert len(set(names)) == len(names)
        found[node] = dict(zip(names, (error["details"] for error in each["errors"]), strict=True))
    return found


def with_inputs(name, **changed):
    """A shipped prompt, by the beginning of its name, without its plan, whose nodes, by class, have other inputs."""
    [file] = (ROOT / "workflows" / "api").glob(f"{name} - *.json")
    prompt = json.loads(file.read_text())
    for node in prompt.values():
        node["inputs"].update(changed.get(node["class_type"], {}))
    return {number: node for number, node in prompt.items() if node["class_type"] != "WindowPlan"}


@pytest.mark.parametrize(
    ("workflow", "node", "inputs", "wrong"),
    [
        ("Demo 01", "CoDenoiseKSampler", {"overlap": 61}, {"overlap": "window 61"}),
        ("Demo 01", "CoDenoiseKSampler", {"overlap": -1}, {"overlap": "-1"}),
        ("Demo 01", "CoDenoiseKSampler", {"overlap": -1, "start_at_step": -2},
         {"overlap": "-1", "start_at_step": "-2"}),
        ("Demo 01", "CoDenoiseKSampler", {"start_at_step": 8, "end_at_step": 5}, {"end_at_step": "is 5"}),
        ("Demo 01", "MultiPromptSchedule", {"prompts": "0: a\n12x: b"}, {"prompts": "line 2"}),
        ("Demo 03", "StreamingExtend", {"overlap": 999}, {"overlap": "overlap is 999"}),
        ("Demo 03", "StreamingExtend", {"run_name": "../b"}, {"run_name": "../b"}),
        ("Demo 03", "SaveLongVideo", {"codec": "vp9"}, {"codec": "vp9"}),
        ("Demo 03", "SaveLongVideo", {"codec": "h264", "crf": 60}, {"crf": "60"}),
        ("Demo 03", "SaveLongVideo", {"filename_prefix": "video/con"}, {"filename_prefix": "con"}),
        ("Demo 03", "LoadVideoPipeline", {"pipeline": "Wan"}, {"pipeline": "model_index.json"}),
        ("Demo 09", "LoadStreamingT2V", {"checkpoint": "a.ckpt", "base": "b"},
         {"checkpoint": "PAIR/StreamingT2V", "base": "damo-vilab"}),
    ],
)  # fmt: skip
def test_what_is_wrong_is_marked_and_nothing_else(server, workflow, node, inputs, wrong):
    prompt = with_inputs(workflow, **{node: inputs})
    found = refused(server, prompt)
    assert [prompt[number]["class_type"] for number in found] == [node]
    [said] = found.values()
    assert sorted(said) == sorted(wrong)
    assert all(words in said[name] for name, words in wrong.items()), said


def test_mistakes_of_several_nodes_are_all_said_at_once(server):
    prompt = with_inputs(
        "Demo 03", StreamingExtend={"overlap": 999}, SaveLongVideo={"codec": "vp9"},
        MultiPromptSchedule={"prompts": ""}, LoadVideoPipeline={"pipeline": "Wan"},
    )  # fmt: skip
    found = {prompt[number]["class_type"]: list(said) for number, said in refused(server, prompt).items()}
    assert found == {
        "StreamingExtend": ["overlap"], "SaveLongVideo": ["codec"], "MultiPromptSchedule": ["prompts"],
        "LoadVideoPipeline": ["pipeline"],
    }  # fmt: skip


def test_other_nodes_are_marked_as_ever(server):
    prompt = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "nothing.png"}},
        "2": {"class_type": "PreviewImage", "inputs": {"images": ["1", 0]}},
    }
    [said] = refused(server, prompt).values()
    assert list(said) == ["image"] and "nothing.png" in said["image"]


LONG_LATENT = {"class_type": "LongLatent", "inputs": {"width": 64, "height": 64, "batch_size": 1, "vae": ["1", 2]}}


@pytest.mark.parametrize(
    ("length", "unit", "last", "is_right"),
    [
        (49, "frames", 48, True), (49, "frames", 52, True), (49, "frames", 99, False),
        (3.0, "seconds", 47, True), (3.0, "seconds", 99, False),
    ],
)  # fmt: skip
def test_a_prompt_outside_of_a_linked_length_is_said_before_anything_runs(server, length, unit, last, is_right):
    """The VAE rounds a length up, so that 52 may lie in a video of 49 frames."""
    prompt = {
        "1": {"class_type": "LoadVideoPipeline",
              "inputs": {"pipeline": "demo model (built in)", "transformer": "transformer"}},
        "2": {"class_type": "PrimitiveFloat", "inputs": {"value": length}},
        "3": {**LONG_LATENT, "inputs": {**LONG_LATENT["inputs"], "length": ["2", 0], "unit": unit, "fps": 16.0}},
        "4": {"class_type": "MultiPromptSchedule", "inputs": {
            "clip": ["1", 1], "prompts": f"0: a\n{last}: b", "length": ["3", 1], "fps": ["3", 2],
            "transition": "hard", "transition_frames": 0.0}},
        "5": {"class_type": "PreviewAny", "inputs": {"source": ["4", 0]}},
    }  # fmt: skip
    if is_right:
        status, answer = server.post("/prompt", {"prompt": prompt})
        assert status == 200 and answer["node_errors"] == {}
        server.post("/queue", {"clear": True})
    else:
        found = refused(server, prompt)
        assert list(found) == ["4"] and list(found["4"]) == ["prompts"]
        assert "line 2" in found["4"]["prompts"] and "outside the video" in found["4"]["prompts"]


EMPTY_IMAGE = {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64, "batch_size": 1, "color": 0}}


@pytest.mark.parametrize(
    ("inputs", "wrong", "words"),
    [
        ({"image": ["90", 0], "latent": ...}, "vae", "image is connected, but no vae"),
        ({"anchor": "image"}, "anchor_image", "Connect an image"),
        ({"anchor": "image", "anchor_image": ["90", 0]}, "vae", "anchor_image is connected, but no vae"),
        ({"extend_by": 5.0}, "extend_by", "extend_by is 5 and length 401"),
        ({"extend_by": 5.0, "length": ["4", 1]}, "extend_by", "one of them says how long"),
        ({"length": 0}, "length", "Set one of them"),
    ],
)
def test_what_streaming_lacks_is_said_before_anything_runs(server, inputs, wrong, words):
    prompt = with_inputs("Demo 03", StreamingExtend={"length": 401})
    prompt["90"] = EMPTY_IMAGE
    given = {**prompt["7"]["inputs"], **inputs}
    prompt["7"]["inputs"] = {name: value for name, value in given.items() if value is not ...}
    found = refused(server, prompt)
    assert list(found) == ["7"] and list(found["7"]) == [wrong] and words in found["7"][wrong]


@pytest.mark.parametrize(
    ("node", "inputs", "wrong"),
    [
        ("SaveLongVideo", {"fps": 8.0, "filename_prefix": "video/x", "format": "mp4", "codec": "auto", "crf": 18,
                           "pixel_format": "yuv420p"}, "samples"),
        ("SaveLongVideo", {"fps": 8.0, "filename_prefix": "video/x", "format": "mp4", "codec": "auto", "crf": 18,
                           "pixel_format": "yuv420p", "samples": ["3", 0]}, "vae"),
        ("LongVaceConditioning", {"positive": ["6", 0], "negative": ["6", 0], "vae": ["1", 2], "width": 64,
                                  "height": 64, "length": 0, "strength": 1.0, "fill_masked": True}, "length"),
        ("LongVaceConditioning", {"positive": ["6", 0], "negative": ["6", 0], "vae": ["1", 2], "width": 64,
                                  "height": 40, "length": 81, "strength": 1.0, "fill_masked": True}, "height"),
        ("InvertLongLatent", {"model": ["1", 0], "positive": ["6", 0], "latent_image": ["3", 0], "steps": 20,
                              "scheduler": "simple", "strength": 1.0, "cfg": 3.0, "refinements": 0,
                              "schedule_seed": 0, "window": 61, "overlap": 16, "schedule": "shifted",
                              "merge": "pyramid", "windows_per_forward": 0}, "negative"),
    ],
)  # fmt: skip
def test_what_is_not_connected_is_said_before_anything_runs(server, node, inputs, wrong):
    prompt = {
        "1": {"class_type": "LoadVideoPipeline",
              "inputs": {"pipeline": "demo model (built in)", "transformer": "transformer"}},
        "3": {**LONG_LATENT, "inputs": {**LONG_LATENT["inputs"], "length": 49.0, "unit": "frames", "fps": 16.0}},
        "6": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": ""}},
        "7": {"class_type": node, "inputs": inputs},
        "8": {"class_type": "PreviewAny", "inputs": {"source": ["7", 0]}},
    }  # fmt: skip
    if node == "SaveLongVideo":
        del prompt["8"]
    found = refused(server, prompt)
    assert list(found) == ["7"] and list(found["7"]) == [wrong]


def test_what_a_primitive_brings_is_checked_like_what_is_set(server):
    prompt = with_inputs("Demo 01", CoDenoiseKSampler={"overlap": ["90", 0]})
    prompt["90"] = {"class_type": "PrimitiveInt", "inputs": {"value": 61}}
    [said] = refused(server, prompt).values()
    assert list(said) == ["overlap"] and "overlap is 61 frames and window 61" in said["overlap"]
