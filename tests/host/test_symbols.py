"""A guard against drift: what the pack uses of ComfyUI is there, in every ComfyUI that is tested."""

from __future__ import annotations

import pytest
from comfyui_hosts import hosts, numbers

pytestmark = pytest.mark.every_host


def test_everything_that_is_needed_is_there(inside):
    found = inside("symbols", "lacking")
    print(found["table"])
    assert not found["needed"], found["table"]


def test_a_long_video_is_a_whole_video_of_the_host(inside):
    assert inside("symbols", "video_methods") == {"abstract": [], "refused": {}}


def test_what_is_asked_for_exists_in_some_comfyui(processes, comfyui):
    """An optional name that no ComfyUI has is a mistake of the list."""
    if comfyui != hosts()[0] or numbers(comfyui.version) < numbers("0.33.0"):
        pytest.skip("asked of the newest ComfyUI, if it is new enough to know")
    absent = [processes.worker(host).call("symbols", "lacking")["asked"] for host in hosts()]
    assert [name for name in absent[0] if all(name in each for each in absent)] == []
