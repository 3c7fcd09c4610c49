"""The pack in a running ComfyUI: what the API describes, and the shipped workflow from prompt to video."""

import io
import json
from pathlib import Path

import av
import numpy as np
import pytest

from glv_core.demo.detector import expected, read_frames
from glv_core.prompts import parse_schedule

ROOT = Path(__file__).resolve().parents[2]
NODES = [
    "LongLatent", "MultiPromptSchedule", "CoDenoiseKSampler", "CoDenoiseModel", "CoDenoisePhase", "WindowPlan",
    "LongNoise", "VAEDecodeLoop", "LoadVideoPipeline",
]  # fmt: skip
API_PROMPTS = sorted((ROOT / "workflows" / "api").glob("*.json"))


@pytest.mark.parametrize("node", NODES)
def test_object_info_describes_every_node_with_a_tooltip_on_every_input_and_output(server, node):
    info = server.get(f"/object_info/{node}")
    assert node in info, server.log.read_text()[-3000:]
    info = info[node]
    assert info["description"] and info["display_name"] and info["category"] == "long video"
    inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
    missing = [name for name, spec in inputs.items() if not (len(spec) > 1 and spec[1].get("tooltip"))]
    assert not missing
    assert all(info["output_tooltips"])


def test_every_node_has_a_help_page(server):
    for node in NODES:
        page = server.fetch(f"/extensions/long_video_pack/docs/{node}.md").decode()
        info = server.get(f"/object_info/{node}")[node]
        inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        assert [name for name in inputs if f"`{name}`" not in page] == []


def test_the_template_browser_lists_every_workflow_with_a_thumbnail(server):
    listed = server.get("/workflow_templates")["long_video_pack"]
    names = [path.stem for path in API_PROMPTS]
    assert sorted(listed) == sorted(names)
    for name in names:
        assert server.fetch(f"/api/workflow_templates/long_video_pack/{name}.jpg")[:2] == b"\xff\xd8"
        assert server.get(f"/api/workflow_templates/long_video_pack/{name}.json")["nodes"]


@pytest.fixture(scope="module")
def demo_run(server):
    prompt = json.loads((ROOT / "workflows" / "api" / "demo_three_prompts.json").read_text())
    history, messages = server.run(prompt)
    return prompt, history, messages


def test_the_demo_workflow_shows_progress_by_windows_with_previews(demo_run):
    _, history, messages = demo_run
    assert history["status"]["status_str"] == "success"
    bars = [m["data"] for m in messages if not isinstance(m, bytes) and m["type"] == "progress"]
    sampler = [bar for bar in bars if bar["node"] == "7"]
    assert {bar["max"] for bar in sampler} == {max(bar["max"] for bar in sampler)}
    assert sampler[0]["max"] > 20 * 4  # steps times the fewest windows
    values = [bar["value"] for bar in sampler]
    assert values == sorted(values) and values[-1] == sampler[0]["max"]
    previews = [m for m in messages if isinstance(m, bytes) and b"\xff\xd8\xff" in m[:200]]
    assert len(previews) >= 20
    assert any(isinstance(m, bytes) and b"window" in m for m in messages)


def video_of(server, history):
    """Frames ``t h w c`` (uint8) and frames per second of the video that the workflow saved."""
    saved = history["outputs"]["11"]["images"][0]
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


@pytest.mark.xfail(reason="the shipped demo weights are intermediate, see their model card", strict=False)
def test_the_demo_workflow_makes_the_video_that_its_prompts_describe(server, demo_run):
    prompt, history, _ = demo_run
    frames, _ = video_of(server, history)
    small = frames.reshape(241, 64, 4, 64, 4, 3).mean(axis=(2, 4)) / 255  # back to the model's own size
    schedule = parse_schedule(prompt["5"]["inputs"]["prompts"], num_frames=241, fps=16)
    readings = read_frames(small)
    window, agreeing, counted = 61, 0, 0
    for segment in schedule.segments:
        wanted = expected(segment.prompt)
        first = segment.start if segment.start == 0 else segment.start + window // 2
        last = segment.end if segment.end == 241 else segment.end - window // 2
        for reading in readings[int(first) : int(last)]:
            counted += 1
            agreeing += reading.colour == wanted["colour"] and reading.shape == wanted["shape"]
    assert counted > 60
    assert agreeing / counted >= 0.95


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
    prompt = json.loads((ROOT / "workflows" / "api" / "demo_three_prompts.json").read_text())
    prompt[node]["inputs"].update(inputs)
    del prompt["12"]  # the window plan, which would be drawn all the same
    status, answer = server.post("/prompt", {"prompt": prompt})
    assert status == 400
    message = json.dumps(answer["node_errors"][node])
    assert all(word in message for word in words), message
