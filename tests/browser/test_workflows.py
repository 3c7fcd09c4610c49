"""The graph workflows in ComfyUI's own front end, in headless Chromium: they queue the API prompt beside them."""

import json
from pathlib import Path

import pytest
from comfyui_hosts import default_of, inputs_of, skip_without_model

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted(path.name for path in (ROOT / "workflows").glob("*.json"))


#: What the editor adds of its own to a node that shows a video.
PREVIEW = "video-preview"


def differences(queued, shipped, info):
    """What the editor queues for a node beside or in place of what the API prompt has.

    Of core's nodes, other releases have more inputs, which come with their defaults, and have moved some into menus.
    """
    queued = {name: value for name, value in queued.items() if name != PREVIEW}
    if info["category"] == "long video":
        return {name for name in {*queued, *shipped} if queued.get(name) != shipped.get(name)}
    inputs = inputs_of(info["input"], queued)
    moved = {name for name in inputs for old in shipped if name.endswith(f".{old}")}
    missing = {
        name
        for name, value in shipped.items()
        if value not in [queued.get(each) for each in inputs if each == name or each.endswith(f".{name}")]
    }
    added = {
        name
        for name, value in queued.items()
        if name not in moved and value != shipped.get(name) and value != default_of(inputs[name][1])
    }
    return missing | added


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_graph_opens_and_queues_its_api_prompt(page, server, name):
    skip_without_model(server, name)
    page.messages.clear()
    graph = json.loads((ROOT / "workflows" / name).read_text())
    queued = page.evaluate(
        """async (graph) => {
            await window.app.loadGraphData(graph);
            await new Promise((resolve) => setTimeout(resolve, 500));
            const known = Object.keys(window.LiteGraph.registered_node_types);
            const missing = window.app.graph.nodes.filter((n) => !known.includes(n.type)).map((n) => n.type);
            return {missing, output: (await window.app.graphToPrompt()).output};
        }""",
        graph,
    )
    assert queued["missing"] == []
    api = json.loads((ROOT / "workflows" / "api" / name).read_text())
    assert set(queued["output"]) == set(api)
    for number, node in api.items():
        assert queued["output"][number]["class_type"] == node["class_type"]
        info = server.get(f"/object_info/{node['class_type']}")[node["class_type"]]
        assert not differences(queued["output"][number]["inputs"], node["inputs"], info), (number, node["class_type"])
    ours = [m for m in page.messages if m[0] in ("error", "pageerror") and "long_video_pack" in f"{m[1]}{m[2]}"]
    assert not ours


def body(page):
    return page.evaluate("() => document.body.innerText").split("\n")


def test_the_editor_offers_the_public_models_that_are_missing(newer_editor, page):
    name = "Wan 2.2 14B - Three prompts, two models"
    text = (ROOT / "workflows" / f"{name}.json").read_text()
    graph = json.loads(text.replace(".safetensors", "_.safetensors"))  # which no other test has put there
    page.evaluate("(graph) => window.app.loadGraphData(graph)", graph)
    page.get_by_text("View details").first.click()
    page.get_by_text("Missing Models").first.wait_for()
    shown = body(page)
    files = [value for node in graph["nodes"] for value in node["widgets_values"] if ".safetensors" in str(value)]
    wanted = {value for value in files if value.endswith(".safetensors") and " " not in value}
    assert len(wanted) == 4 and wanted <= set(shown)
    assert shown.count("Download") == 4 and "Download all" in shown


@pytest.mark.parametrize(
    "name", [path for path in WORKFLOWS if "linearData" in (ROOT / "workflows" / path).read_text()]
)
def test_app_mode_shows_what_the_workflow_says(newer_editor, page, name):
    graph = json.loads((ROOT / "workflows" / name).read_text())
    toggle = "() => window.app.extensionManager.command.execute('Comfy.ToggleLinear')"
    page.evaluate("([graph, name]) => window.app.loadGraphData(graph, true, true, name)", [graph, name])
    page.evaluate(toggle)
    try:
        page.get_by_text("Number of runs").first.wait_for()
        shown = body(page)
    finally:
        page.evaluate(toggle)
    wanted = [widget for _, widget in graph["extra"]["linearData"]["inputs"]]
    start = shown.index(wanted[0])
    assert shown[start : start + len(wanted)] == wanted
