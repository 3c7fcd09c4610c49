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
