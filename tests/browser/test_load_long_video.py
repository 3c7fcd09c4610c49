"""Load Long Video in the editor: its node shows the file, and after a run the part that it loaded."""

import pytest
import torch

from glv_core.video_io import save_video


@pytest.fixture
def node(page, server):
    """A new node with a video of 40 frames, whose length goes to a preview."""
    save_video(server.base / "input" / "forty.mp4", torch.zeros(40, 64, 64, 3), 8)
    page.evaluate(
        """async () => {
            await window.app.refreshComboInNodes();
            const graph = window.app.graph;
            graph.clear();
            const node = window.LiteGraph.createNode("LoadLongVideo");
            const seen = window.LiteGraph.createNode("PreviewAny");
            graph.add(node);
            graph.add(seen);
            node.connect(1, seen, 0);
            const set = (name, value) => {
                const widget = node.widgets.find((each) => each.name === name);
                widget.value = value;
                widget.callback?.(value);
            };
            set("file", "forty.mp4");
            set("start", 1.0);
            set("length", 16);
        }"""
    )
    return page


def sources(page):
    return page.evaluate("() => [...document.querySelectorAll('video')].map((video) => video.currentSrc || video.src)")


def test_a_node_shows_its_file_and_after_a_run_its_part(node):
    node.wait_for_function(
        "() => [...document.querySelectorAll('video')].some((video) => video.src.includes('forty.mp4'))"
    )
    assert not [each for each in sources(node) if "long_video_part" in each]
    node.evaluate("async () => { await window.app.queuePrompt(0); }")
    node.wait_for_function(
        """() => [...document.querySelectorAll('video')].some(
            (video) => video.src.includes('long_video_part') && Math.abs(video.duration - 2) < 0.1)""",
        timeout=60_000,
    )
