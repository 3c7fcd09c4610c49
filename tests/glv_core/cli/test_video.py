"""Videos that the command line reads."""

from __future__ import annotations

import pytest
import torch
import video_corpus as corpus

from glv_core.cli.video import open_video
from glv_core.video_io import save_video, tone_map


def test_hdr_is_tone_mapped_and_it_is_said(tmp_path, caplog):
    frames = torch.full((3, 64, 96, 3), 0.75)
    clip = open_video(save_video(tmp_path / "a.mkv", frames, 24, pixel_format="yuv420p10le", color_space="HDR", crf=4))
    truth = float(tone_map(torch.full((1, 1, 1, 3), 0.75), "HDR").mean())
    assert clip.color_space == "sRGB"
    assert float(next(clip.frames()).float().mean()) / 255 == pytest.approx(truth, abs=0.02)
    assert "a.mkv is HDR (HLG); models are shown it tone mapped to SDR." in caplog.text


def test_what_is_wrong_with_a_file_is_said(tmp_path, caplog):
    whole = corpus.write(tmp_path / "whole.mp4", 60, muxer={"movflags": "faststart"}, g="20")
    open_video(whole)
    assert caplog.text == ""
    open_video(corpus.truncated(tmp_path / "cut.mp4", whole, 0.8))
    assert "cut.mp4 is cut off: it announces 60 frames" in caplog.text
