"""The graph workflows in ComfyUI's own front end, in headless Chromium: they queue the API prompt beside them."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted(path.name for path in (ROOT / "workflows").glob("*.json"))


@pytest.mark.parametrize("name", WORKFLOWS)
def test_a_graph_opens_and_queues_its_api_prompt(page, name):
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
        assert queued["output"][number]["inputs"] == node["inputs"], (number, node["class_type"])
    ours = [m for m in page.messages if m[0] in ("error", "pageerror") and "long_video_pack" in f"{m[1]}{m[2]}"]
    assert not ours
