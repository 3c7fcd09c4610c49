"""Killing the real process again and again loses nothing but the chunk in flight."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

from glv_core.video_io import read_video

ROOT = Path(__file__).resolve().parents[3]
KILLS = 20


def command(folder: Path, output: Path) -> list[str]:
    options = {
        "--prompts": "a red circle | a blue square", "--length": "193", "--window": "17", "--chunk": "17",
        "--chunk-overlap": "8", "--steps": "60", "--cfg": "1", "--width": "64", "--height": "64", "--device": "cpu",
        "--dtype": "float32", "--model": str(folder), "--output": str(output),
    }  # fmt: skip
    pairs = [word for pair in options.items() for word in pair]
    return [sys.executable, "-m", "glv_core", "--streaming", *pairs]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_twenty_kills_in_a_row_and_the_same_video(tiny_wan_folder, tmp_path):
    whole, killed = tmp_path / "whole.mp4", tmp_path / "killed.mp4"
    begin = time.monotonic()
    subprocess.run(command(tiny_wan_folder, whole), cwd=ROOT, check=True, capture_output=True)
    alone = time.monotonic() - begin
    run = killed.with_suffix(".run")
    chance = random.Random(0)
    counts, finished = [], 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            command(tiny_wan_folder, killed), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        begin = time.monotonic()
        # Most of a run is loading: the moment is drawn from when it writes its chunks, and then some.
        wait = chance.uniform(0.2, 1.05) * alone
        while process.poll() is None and time.monotonic() - begin < wait:
            time.sleep(0.01)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        else:
            finished += 1
        process.wait()
        counts.append(len(list(run.glob("chunk_*.safetensors"))) if run.exists() else 0)
        if finished and killed.exists():
            killed.unlink()
    assert counts == sorted(counts), "a finished chunk was lost"
    subprocess.run(command(tiny_wan_folder, killed), cwd=ROOT, check=True, capture_output=True)
    theirs = {path.name: load_file(path)["latents"] for path in whole.with_suffix(".run").glob("chunk_*.safetensors")}
    ours = {path.name: load_file(path)["latents"] for path in run.glob("chunk_*.safetensors")}
    assert len(theirs) > 10
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    # The latents are the same bits; the encoder's threads leave it a little freedom.
    one, other = (read_video(path)[0].float() for path in (whole, killed))
    assert one.shape == other.shape
    assert (one - other).abs().mean() < 1
    assert not list(run.glob("*.refused"))
