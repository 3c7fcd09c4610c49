"""Finished chunks on the disk: found again, or refused, and never lost."""

from __future__ import annotations

import errno
import json
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from glv_core.partial import DAY
from glv_core.streaming import (
    RunFolder,
    RunFolderError,
    check_run_name,
    chunk_key,
    digest_of,
    run_folder,
    weights_digest,
)

LATENTS = torch.arange(24, dtype=torch.float32).reshape(1, 2, 3, 2, 2)
KEY = chunk_key({"seed": 1}, None)


def test_a_chunk_comes_back_bit_for_bit(tmp_path):
    folder = RunFolder(tmp_path / "a" / "b")
    assert folder.load(4, KEY) is None
    folder.save(4, KEY, LATENTS)
    again = RunFolder(tmp_path / "a" / "b")
    assert torch.equal(again.load(4, KEY)[0], LATENTS)
    assert again.load(5, KEY) is None
    assert again.load(4, chunk_key({"seed": 2}, None)) is None
    assert [path.name for path in folder.path.iterdir()] == [folder.file_of(4, KEY).name]


def test_keys_depend_on_everything_and_on_no_order():
    keys = {
        chunk_key({"a": 1, "b": [2, "x"]}, None),
        chunk_key({"a": 2, "b": [2, "x"]}, None),
        chunk_key({"a": 1, "b": [2, "x"]}, LATENTS),
        chunk_key({"a": 1, "b": [2, "x"]}, LATENTS + 1e-6),
        chunk_key({"a": 1, "b": [2, "x"]}, LATENTS.reshape(1, 2, 3, 1, 4)),
        chunk_key({"a": 1, "b": [2, "x"]}, LATENTS.double()),
    }
    assert len(keys) == 6
    assert chunk_key({"b": [2, "x"], "a": 1}, None) in keys


def test_digests_of_all_kinds_of_tensors():
    kinds = [torch.zeros(()), torch.zeros(1), torch.zeros(2, dtype=torch.bfloat16), torch.zeros(2, dtype=torch.int64)]
    assert len({digest_of(kind) for kind in kinds}) == len(kinds)
    assert digest_of(LATENTS.movedim(1, -1).movedim(-1, 1)) == digest_of(LATENTS)


def test_weights_digest_sees_names_shapes_and_values():
    weights = {"a": torch.arange(1000.0), "b": torch.zeros(3, dtype=torch.bfloat16)}
    digests = {
        weights_digest(weights.items()),
        weights_digest({**weights, "a": weights["a"] * 1.01}.items()),
        weights_digest({**weights, "a": weights["a"].reshape(10, 100)}.items()),
        weights_digest({"c": weights["a"], "b": weights["b"]}.items()),
        weights_digest({**weights, "b": weights["b"].float()}.items()),
    }
    assert len(digests) == 5
    assert weights_digest(reversed(weights.items())) in digests


def damaged(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-5])


def foreign(path):
    save_file({"latents": LATENTS}, path)


def of_other_settings(path):
    other = RunFolder(path.parent / "other")
    key = chunk_key({"seed": 99}, None)
    other.save(0, key, LATENTS)
    path.write_bytes(other.file_of(0, key).read_bytes())


def a_folder_there(path):
    path.unlink()
    path.mkdir()
    path.with_name(path.name + ".refused").write_text("a file of that name is there already")


def refused_before(path):
    damaged(path)
    path.with_name(path.name + ".refused").mkdir()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (damaged, "checksum"),
        (cut_short, "refused"),
        (foreign, "no chunk of this pack"),
        (of_other_settings, "other settings"),
        (lambda path: path.write_bytes(b""), "refused"),
        (a_folder_there, "refused"),
        (refused_before, "refused-2"),
    ],
)
def test_a_bad_file_is_refused_with_a_reason_and_kept_aside(tmp_path, caplog, harm, reason):
    folder = RunFolder(tmp_path)
    folder.save(0, KEY, LATENTS)
    path = folder.file_of(0, KEY)
    harm(path)
    with caplog.at_level(logging.WARNING):
        assert folder.load(0, KEY) is None
    assert reason in caplog.text
    assert str(path) in caplog.text
    assert not path.exists()
    assert path.with_name(path.name + ".refused").exists()
    folder.save(0, KEY, LATENTS)
    assert torch.equal(folder.load(0, KEY)[0], LATENTS)


@pytest.mark.parametrize("text", ["{}", "", '{"format": "long-video', "[1]", "\x00\x00", "folder"])
def test_a_damaged_manifest_is_set_aside_and_chunks_are_found(tmp_path, caplog, text):
    """It is written with every chunk, and read by nobody but people."""
    folder = RunFolder(tmp_path)
    folder.save(0, KEY, LATENTS)
    manifest = tmp_path / "manifest.json"
    manifest.mkdir() if text == "folder" else manifest.write_text(text)
    with caplog.at_level(logging.WARNING):
        again = RunFolder(tmp_path)
    assert "manifest.json is refused" in caplog.text and (tmp_path / "manifest.json.refused").exists()
    assert torch.equal(again.load(0, KEY)[0], LATENTS)
    again.write_manifest({}, [])
    assert json.loads(manifest.read_text())["format"] == "long-video-run/1"


def test_what_can_neither_be_used_nor_moved_is_named(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.save(0, KEY, LATENTS)
    damaged(folder.file_of(0, KEY))

    def denied(*_):
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "rename", denied)
    with pytest.raises(RunFolderError, match=r"chunk_00000_.* cannot be used \(.*Permission denied.*Remove it"):
        folder.load(0, KEY)


def test_a_manifest_of_another_version_is_refused(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"format": "long-video-run/9"}))
    with pytest.raises(RunFolderError, match="long-video-run/9"):
        RunFolder(tmp_path)


def test_the_manifest_says_what_was_made(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_manifest({"steps": 3}, [{"key": KEY, "seed": 5}])
    written = json.loads((tmp_path / "manifest.json").read_text())
    assert written["description"] == {"steps": 3}
    assert written["chunks"] == [{"key": KEY, "seed": 5}]
    RunFolder(tmp_path)


def test_a_folder_that_cannot_be_written_is_refused_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunFolderError, match="cannot be written"):
        RunFolder(tmp_path / "file" / "run")


def test_too_little_space_is_said_before_anything_is_made(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    spare = run_folder.SPARE_BYTES
    monkeypatch.setattr(run_folder.shutil, "disk_usage", lambda _: SimpleNamespace(free=spare + 3 * 100))
    folder.check_space(3, 100)
    with pytest.raises(RunFolderError, match="4 chunks need"):
        folder.check_space(4, 100)


def test_a_full_disk_loses_no_finished_chunk(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)
    folder.save(0, KEY, LATENTS)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_folder.os, "fsync", full)
    with pytest.raises(RunFolderError, match=r"Chunk 2 could not be written.*No space left.*queue again"):
        folder.save(1, KEY, LATENTS)
    with pytest.raises(RunFolderError, match="manifest could not be written"):
        folder.write_manifest({}, [])
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == [folder.file_of(0, KEY).name]
    assert torch.equal(folder.load(0, KEY)[0], LATENTS)


def test_a_write_that_was_cut_off_leaves_no_chunk(tmp_path):
    """What was left is cleared when its write must be over; another's that goes on now stays."""
    folder = RunFolder(tmp_path)
    left, now = (tmp_path / f"{folder.file_of(index, KEY).name}.partial-1" for index in (0, 1))
    for each in (left, now):
        each.write_bytes(b"half")
    long_ago = time.time() - 2 * DAY
    os.utime(left, (long_ago, long_ago))
    assert folder.load(0, KEY) is None
    folder.save(0, KEY, LATENTS)
    assert torch.equal(folder.load(0, KEY)[0], LATENTS)
    assert not left.exists() and now.exists()


def test_two_that_write_the_same_chunks_at_once_both_succeed(tmp_path):
    """As two servers with one run folder do; one of them clears no file that the other writes."""

    def write(folder):
        for _ in range(40):
            folder.save(0, KEY, LATENTS)
            folder.write_manifest({}, [])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, [RunFolder(tmp_path) for _ in range(4)]))
    assert torch.equal(RunFolder(tmp_path).load(0, KEY)[0], LATENTS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        RunFolder(tmp_path).file_of(0, KEY).name,
        "manifest.json",
    ]


@pytest.mark.parametrize(
    "name", ["r/manifest.json", "manifest.JSON/r", "a.safetensors", "x/b.refused-2", "c.partial-9"]
)
def test_no_run_takes_the_place_of_another_s_files(name):
    with pytest.raises(ValueError, match=r"^run_name is .* Choose another name"):
        check_run_name("run_name", name)


@pytest.mark.parametrize("name", ["r", "a/b", "my manifest", "safetensors", "v1.2"])
def test_other_names_of_runs_are_fine(name):
    check_run_name("run_name", name)


def test_what_is_encoded_is_encoded_once(tmp_path, caplog):
    made = []

    def make():
        made.append(torch.full((1, 2), float(len(made))))
        return made[-1]

    folder = RunFolder(tmp_path)
    assert torch.equal(folder.kept("start", KEY, make), torch.zeros(1, 2))
    assert torch.equal(RunFolder(tmp_path).kept("start", KEY, make), torch.zeros(1, 2))
    assert torch.equal(folder.kept("start", chunk_key({"seed": 2}, None), make), torch.ones(1, 2))
    assert torch.equal(folder.kept("anchor", KEY, make), torch.full((1, 2), 2.0))
    path = next(tmp_path.glob(f"start_{KEY[:16]}*"))
    path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        assert torch.equal(folder.kept("start", KEY, make), torch.full((1, 2), 3.0))
    assert "refused" in caplog.text


def test_what_is_encoded_and_cannot_be_written_is_said(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(run_folder, "_write_whole", full)
    with pytest.raises(RunFolderError, match=r"start_.*No space left.*queue again"):
        folder.kept("start", KEY, lambda: LATENTS)
