"""Killing the process loses nothing but the chunk in flight."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")

#: Streams eight chunks in a process that is killed at its n-th moment, then once more, for every n. A moment is before
#: and after sampling, before and after a file's bytes are on the disk, and before and after it gets its name.
PROGRAM = """
import hashlib, json, os, signal, sys
from pathlib import Path

import torch

from glv_core.streaming import RunFolder, plan_chunks, stream


class Sampler:
    latent_frame_size = 1

    def __init__(self, moment):
        self.sampled, self.moment = 0, moment

    def cache_inputs(self, chunk):
        return {}

    def sample(self, chunk, known, anchor):
        self.moment()
        self.sampled += 1
        begin = 0.0 if known is None else float(known.sum())
        made = torch.sin(begin + torch.arange(float(chunk.length))).view(1, 1, -1, 1, 1)
        if known is not None:
            made[:, :, : chunk.overlap] = known
        self.moment()
        return made


def run(folder, moment):
    sampler = Sampler(moment)
    video = stream(sampler, plan_chunks(34, 6, 2), 34, folder=RunFolder(folder))
    return hashlib.sha256(video.numpy().tobytes()).hexdigest(), sampler.sampled


def watched(number):
    seen = 0

    def moment():
        nonlocal seen
        seen += 1
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(function):
        def call(*given, **named):
            moment()
            result = function(*given, **named)
            moment()
            return result

        return call

    os.fsync, Path.replace = around(os.fsync), around(Path.replace)
    return moment


base = Path(sys.argv[1])
whole, _ = run(base / "whole", lambda: None)
kills = []
number = 0
while True:
    number += 1
    folder = base / str(number)
    child = os.fork()
    if child == 0:
        run(folder, watched(number))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        break
    names = sorted(path.name for path in folder.iterdir())
    chunks = sum(name.startswith("chunk_") and name.endswith(".safetensors") for name in names)
    video, sampled = run(folder, lambda: None)
    left = [path.name for path in folder.iterdir() if "partial" in path.name or path.name.endswith(".refused")]
    kills.append({"names": names, "chunks": chunks, "sampled": sampled, "same": video == whole, "left": left})
print(json.dumps(kills))
"""


def test_a_run_killed_at_any_moment_ends_with_the_same_video(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    kills = json.loads(done.stdout)
    assert len(kills) > 8 * 8  # two moments of sampling, and for chunk and manifest each four and more of writing
    assert all(kill["same"] for kill in kills)
    assert all(kill["chunks"] + kill["sampled"] == 8 for kill in kills)  # what was finished is not made again
    counts = [kill["chunks"] for kill in kills]
    assert counts == sorted(counts) and set(counts) == set(range(9))
    assert len({tuple(kill["names"]) for kill in kills}) > 3 * 8  # kills between, inside and after writes
    assert any("partial" in name for kill in kills for name in kill["names"])
    assert not [kill["left"] for kill in kills if any(name.endswith(".refused") for name in kill["left"])]


def test_the_command_line_killed_goes_on(tiny_wan_folder, tmp_path):
    pytest.importorskip("diffusers")
    pytest.importorskip("transformers")

    def command(name: str) -> list[str]:
        options = {
            "--prompts": "a red circle | a blue square", "--length": "65", "--window": "17", "--chunk": "17",
            "--chunk-overlap": "8", "--steps": "20", "--cfg": "1", "--width": "64", "--height": "64",
            "--device": "cpu", "--dtype": "float32", "--model": str(tiny_wan_folder),
            "--output": str(tmp_path / f"{name}.mp4"),
        }  # fmt: skip
        return [sys.executable, "-m", "glv_core", "--streaming", *(word for pair in options.items() for word in pair)]

    def chunks(name: str) -> dict[str, torch.Tensor]:
        found = (tmp_path / f"{name}.run").glob("chunk_*.safetensors")
        return {path.name: load_file(path)["latents"] for path in found}

    quiet = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command("killed"), **quiet)
    while process.poll() is None and len(chunks("killed")) < 2:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it had ended before it was killed"
    before = chunks("killed")
    assert len(before) >= 2
    for name in ("killed", "whole"):
        subprocess.run(command(name), check=True, **quiet)
    ours, theirs = chunks("killed"), chunks("whole")
    assert len(theirs) >= 5 and ours.keys() == theirs.keys() and before.keys() <= ours.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
