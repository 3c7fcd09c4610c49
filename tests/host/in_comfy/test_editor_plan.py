"""The plan under the timeline, from the values of a sampler's node: the same as the run that follows."""

from __future__ import annotations

import json

import pytest
from long_video_pack.glv_core.hosts.comfy.co_denoise.options import PhaseOptions, WindowOptions
from long_video_pack.glv_core.hosts.comfy.editor import Planned, chunk_plan, chunk_preview, made_chunks, window_plan
from long_video_pack.glv_core.hosts.comfy.families import FAMILIES
from long_video_pack.glv_core.hosts.comfy.streaming.run import run_folder
from long_video_pack.glv_core.prompts import PromptTrack, parse_schedule
from long_video_pack.glv_core.streaming import Chunk, chunk_seed, plan_chunks
from long_video_pack.glv_core.timeline import Place
from long_video_pack.glv_core.video_models import ANIMATEDIFF, LTX_2, MINIMAX_H3, WAN, model_named

pytestmark = pytest.mark.every_host


def planned(model=WAN, num_frames=241, text="0: a\n50%: b"):
    return Planned(parse_schedule(text, num_frames=num_frames, fps=16.0), model)


def test_windows_cover_the_video_and_cost_what_the_plan_says():
    values = {"window": 81, "overlap": 16, "steps": 4, "schedule": "static", "merge": "flat", "seed": 3, "cfg": 7.5}
    answer = window_plan(planned(), values)
    (step,) = answer["steps"]
    seen = {frame for window in step["windows"] for first, last in window["runs"] for frame in range(first, last)}
    assert seen == set(range(241))
    settings = WindowOptions(81, 16, "static", "flat").settings(WAN.compression, 3)
    assert len(step["windows"]) == len(settings.windows(61, 0, 4))
    assert answer["ratio"] == pytest.approx(sum(len(w.indices) for w in settings.windows(61, 0, 4)) / 61)
    assert all(weight in (0.5, 1.0) for window in step["windows"] for weight in window["weights"])


def test_what_the_sampler_is_set_to_changes_the_plan():
    values = {"window": 81, "overlap": 16, "steps": 8, "schedule": "static"}
    plain = window_plan(planned(), values)
    for change in ({"window": 121}, {"overlap": 40}, {"schedule": "shifted"}, {"merge": "hann"}, {"stride": 2},
                   {"closed_loop": True}, {"isolated_clips": True}):  # fmt: skip
        assert window_plan(planned(), values | change)["steps"] != plain["steps"], change
    phase = {"start": 0.5, "schedule": "unchanged", "overlap": 40, "stride": 0, "merge": "unchanged", "window": 0}
    assert window_plan(planned(), values, [phase])["ratio"] > plain["ratio"]


def test_a_wrong_value_is_said_as_in_the_run():
    with pytest.raises(ValueError, match="overlap is 90 frames and window 81"):
        window_plan(planned(), {"window": 81, "overlap": 90})


def test_a_plan_takes_no_longer_than_it_can_be_waited_for():
    with pytest.raises(ValueError, match="No plan is drawn of 1000000000 steps of 241 frames"):
        window_plan(planned(), {"window": 81, "overlap": 16, "steps": 10**9})


@pytest.mark.parametrize(("model", "grid"), [(WAN, [0, 1, 5, 9]), (LTX_2, [0, 1, 9, 17]), (ANIMATEDIFF, [0, 1, 2, 3])])
def test_the_grid_is_that_of_the_family(model, grid):
    assert planned(model).grid[:4] == grid


def test_families_are_known_by_the_names_of_their_files():
    assert model_named("CLIPLoader umt5_xxl_fp8.safetensors wan VAELoader wan_2.1_vae.safetensors") is WAN
    assert model_named("ltx-2-19b.safetensors") is LTX_2
    assert model_named("CLIPLoader qwen.safetensors minimax") is MINIMAX_H3
    assert model_named("CheckpointLoaderSimple v1-5-pruned.safetensors") is ANIMATEDIFF
    assert model_named("my own model") is None
    assert {family.model for family in FAMILIES} >= {WAN, LTX_2, MINIMAX_H3}


def manifest(chunks):
    return [
        {"chunk": vars(chunk), "file": f"chunk_{chunk.index:05}_{'0' * 16}.safetensors", **said}
        for chunk, said in chunks
    ]


def test_chunks_that_an_edit_would_make_again():
    values = {
        "chunk": 81,
        "overlap": 16,
        "seed": 5,
        "steps": 4,
        "cfg": 1.0,
        "sampler_name": "euler",
        "scheduler": "simple",
    }
    before = planned(text="0: a\n150: b", num_frames=241)
    chunks = chunk_plan(before, values)["chunks"]
    assert [chunk["state"] for chunk in chunks] == ["new"] * len(chunks)
    assert [chunk["first_new"] for chunk in chunks[1:]] == [chunk["end"] for chunk in chunks[:-1]]
    assert chunks[-1]["end"] == 241
    track = PromptTrack.of(before.schedule, 61, WAN.compression)
    made = json.loads(json.dumps(manifest(
        (chunk, {
            "prompts": track.of_part(Place(chunk.start, 61), chunk.length),
            "seed": chunk_seed(5, chunk.index), "sampler": [4, 1.0, "euler", "simple"],
        })
        for chunk in plan_chunks(61, 21, 4)
    )))  # fmt: skip

    def states(video=before, **changed):
        return [chunk["state"] for chunk in chunk_plan(video, values | changed, made)["chunks"]]

    whole = ["finished"] * len(chunks)
    assert states() == whole
    late = states(planned(text="0: a\n150: c", num_frames=241))
    assert late[0] == "finished"
    assert late[-1] == "again"
    assert late == sorted(late, reverse=True)  # what follows is made again, too
    for change in ({"seed": 6}, {"steps": 5}, {"cfg": 2.0}, {"overlap": 24}):
        assert states(**change)[-1] == "again", change
    for name in ("seed", "steps", "cfg", "sampler_name"):  # which may come through a link, and are not known then
        known = {key: value for key, value in values.items() if key != name}
        assert [chunk["state"] for chunk in chunk_plan(before, known, made)["chunks"]] == whole, name
    longer = states(planned(text="0: a\n150: b", num_frames=401))
    assert longer[-1] == "new"


def test_finished_chunks_are_read_from_their_folder_alone():
    folder = run_folder("editor plan")
    folder.mkdir(parents=True, exist_ok=True)
    chunk = Chunk(0, 0, 21, 0)
    entries = manifest([(chunk, {})])
    (folder / "manifest.json").write_text(json.dumps({"chunks": entries}))
    assert made_chunks("editor plan") == []  # its file is not there
    (folder / entries[0]["file"]).write_bytes(b"-")
    assert made_chunks("editor plan") == entries
    assert made_chunks("no such run") == made_chunks("") == []
    with pytest.raises(ValueError, match="There is no preview"):
        chunk_preview("editor plan", entries[0]["file"])
    (folder / entries[0]["file"]).with_suffix(".webp").write_bytes(b"webp")
    assert chunk_preview("editor plan", entries[0]["file"]).read_bytes() == b"webp"
    for run, file in (
        ("..", entries[0]["file"]),
        ("editor plan", "../manifest.json"),
        ("editor plan", "manifest.json"),
    ):
        with pytest.raises(ValueError):
            chunk_preview(run, file)


def test_a_phase_is_read_from_its_node():
    assert PhaseOptions.of_inputs(0.3) == PhaseOptions(0.3)
    read = PhaseOptions.of_inputs(0.3, "static", 0, 2, "flat", 81, "predictions")
    assert read == PhaseOptions(0.3, "static", 0, 2, "flat", 81, "predictions")
