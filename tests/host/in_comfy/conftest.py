"""Fixtures for tests that run inside ComfyUI; read by the pytest outside as well, so nothing of ComfyUI at the top."""

from __future__ import annotations

import pytest


@pytest.fixture
def wan():
    """A tiny Wan text-to-video MODEL."""
    import tiny

    return tiny.wan()


@pytest.fixture
def recorder():
    """A tiny Wan MODEL that keeps the shapes of its forward passes."""
    import tiny

    return tiny.Recorder(tiny.wan(1))


@pytest.fixture
def steps_seen(monkeypatch):
    """The step and the number of steps of every evaluation."""
    from long_video_pack.glv_core.hosts.comfy.co_denoise import handler as handler_module

    seen, original = [], handler_module.co_denoise_streams

    def spy(x, step, *arguments, **more):
        seen.append((step, more["num_steps"]))
        return original(x, step, *arguments, **more)

    monkeypatch.setattr(handler_module, "co_denoise_streams", spy)
    return seen
