"""The menu of Control Preprocess in ComfyUI's own front end: each kind brings its inputs, and they reach the prompt."""

import pytest

KINDS = {
    "canny": {"low_threshold": 100, "high_threshold": 200},
    "hough": {"score_threshold": 0.1, "length_threshold": 0.1},
    "hed": {"smoothing": 0},
    "scribble": {"threshold": 127, "smoothing": 0},
    "fake_scribble": {"smoothing": 0},
    "sketch": {"threshold": 0.5, "smoothing": 0},
    "pose": {"hold": 3, "smoothing": 1, "detector": "openpose"},
    "seg": {"palette": "ade20k", "model": None, "model_id": "", "allow_download": False},
    "depth": {"normalize": None, "model": None, "model_id": "", "allow_download": False},
    "normal": {
        "normalize": None, "background": 0.4, "depth_span": 0, "model": None, "model_id": "", "allow_download": False
    },
}  # fmt: skip


def queued(page, **values):
    """The inputs that a node made in the editor queues, once these widgets are set one after the other.

    The editor remembers values by a node's number, and a cleared graph begins to count anew.
    """
    return page.evaluate(
        """async (values) => {
            const used = window.app.graph.last_node_id;
            window.app.graph.clear();
            window.app.graph.last_node_id = used;
            const node = window.LiteGraph.createNode("ControlPreprocess");
            window.app.graph.add(node);
            for (const [name, value] of Object.entries(values)) {
                const widget = node.widgets.find((each) => each.name === name);
                if (!widget) throw new Error(name + " is not among " + node.widgets.map((each) => each.name));
                widget.value = value;
                widget.callback?.(value);
                await new Promise((resolve) => setTimeout(resolve, 100));
            }
            return (await window.app.graphToPrompt()).output[node.id].inputs;
        }""",
        values,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_brings_its_inputs(page, kind):
    inputs = queued(page, kind=kind)
    assert inputs["kind"] == kind
    own = {name.removeprefix("kind."): value for name, value in inputs.items() if name.startswith("kind.")}
    assert set(own) == set(KINDS[kind])
    assert all(own[name] == value for name, value in KINDS[kind].items() if value is not None)
    assert inputs["short_side"] == 512 and inputs["multiple"] == 64


def test_a_menu_in_the_menu(page):
    inputs = queued(page, kind="pose", **{"kind.detector": "vitpose"})
    assert inputs["kind.detector"] == "vitpose"
    assert inputs["kind.detector.keypoint_threshold"] == 0.3
    assert "kind.detector.person_detector" in inputs
