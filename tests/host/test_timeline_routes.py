"""The timeline's questions to the real server, and what a streamed run leaves for it."""

from __future__ import annotations

import io
import urllib.error
import urllib.request

import pytest
from comfyui_hosts import api_prompt
from PIL import Image

from glv_core.demo.star import STAR_VIDEO

PREFIX = "/long_video_pack/timeline"
TIMING = {"num_frames": 240, "fps": 24}
pytestmark = pytest.mark.every_host


def ask(server, name, **asked):
    status, answer = server.post(f"{PREFIX}/{name}", {"timing": TIMING, **asked})
    assert status == 200
    return answer


def test_a_text_is_read(server):
    seen = ask(server, "read", text="0: a\n5s: b")
    assert [(each["start"], each["end"], each["prompt"]) for each in seen["segments"]] == [
        (0, 120, "a"),
        (120, 240, "b"),
    ]
    assert ask(server, "read", text="0: a\n24 [slow]: b")["error"]["line"] == 2


def test_the_video_that_comes_with_the_pack_is_shown(server):
    place = "view?type=input&subfolder=&filename="
    for prefix in ("", "api/"):
        with urllib.request.urlopen(f"{server.url}/{prefix}{place}star+%28built+in%29") as answer:
            assert answer.headers["Content-Type"] == "video/mp4" and answer.read() == STAR_VIDEO.read_bytes()
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{server.url}/{place}another.mp4")


def test_a_change_is_written(server):
    made = ask(server, "change", text="0: a\n5s: b", change="move", arguments={"index": 1, "frame": 60})
    assert made["text"] == "0: a\n2.5s: b"
    assert made["segments"][1]["start"] == 60


@pytest.mark.parametrize(
    "asked",
    [
        {"text": "0: a", "change": "remove", "arguments": {"index": 0}},
        {"text": "0: a", "change": "move", "arguments": {"nonsense": 1}},
        {"text": "0: a", "change": "nonsense"},
        {"text": "0: a", "change": "split", "arguments": {"frame": "x"}},
        {"text": "0: a", "change": "split", "arguments": {"frame": 5, "words": 7}},
        {"text": "0: a", "change": "retype", "arguments": {"index": 0, "words": None}},
        {"text": "0: a", "change": "split", "arguments": {"frame": 5}, "timing": {"num_frames": 9, "fps": 10**400}},
        {},
    ],
)
def test_what_is_wrong_is_said(server, asked):
    assert ask(server, "change", **asked)["problem"]


def test_values_that_cannot_be_are_said(server):
    for values in (None, {"window": float("inf")}, {"window": 81, "steps": 10**9}):
        assert ask(server, "plan", text="0: a", values=values)["problem"]
    through_links = ask(server, "plan", text="0: a", node="StreamingExtend", values={"overlap": 16})
    assert "problem" not in through_links
    assert "chunks" not in through_links


def test_a_plan_is_made(server):
    asked = {"text": "0: a\n5s: b", "node": "CoDenoiseKSampler", "model": "wan_2.1_vae.safetensors"}
    answer = ask(server, "plan", **asked, values={"window": 81, "overlap": 16, "steps": 4})
    assert answer["grid"][:3] == [0, 1, 5]
    assert answer["steps"][0]["windows"]
    assert "problem" not in answer
    assert "overlap is 99" in ask(server, "plan", **asked, values={"window": 81, "overlap": 99})["problem"]


def test_a_streamed_run_can_be_looked_at(server):
    prompt = api_prompt("Demo 03")
    latent = next(key for key, node in prompt.items() if node["class_type"] == "LongLatent")
    stream = next(node for node in prompt.values() if node["class_type"] == "StreamingExtend")
    schedule = next(node for node in prompt.values() if node["class_type"] == "MultiPromptSchedule")
    prompt[latent]["inputs"]["length"] = 105.0
    text = schedule["inputs"]["prompts"] = "0: a red circle moving right on a white background\n80: a blue square"
    stream["inputs"] |= {"steps": 2, "run_name": "looked at"}
    server.run(prompt)
    timing = {"num_frames": 105, "fps": 16, "transition": "linear", "transition_frames": 8.0}
    asked = {"timing": timing, "node": "StreamingExtend", "model": "demo", "values": stream["inputs"]}
    chunks = ask(server, "plan", text=text, **asked)["chunks"]
    assert [chunk["state"] for chunk in chunks] == ["finished", "finished"]
    assert (chunks[0]["start"], chunks[-1]["end"]) == (0, 105)
    other = ask(server, "plan", text=text.replace("square", "star"), **asked)["chunks"]
    assert [chunk["state"] for chunk in other] == ["finished", "again"]
    video = Image.open(io.BytesIO(server.fetch(f"{PREFIX}/chunk?run=looked%20at&file={chunks[0]['file']}")))
    assert video.n_frames == 16
    assert video.size == (8, 8)
    server.run(prompt)  # the chunks are found, by the same keys
    assert [chunk["file"] for chunk in ask(server, "plan", text=text, **asked)["chunks"]] == [
        chunk["file"] for chunk in chunks
    ]
