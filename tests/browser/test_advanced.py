"""Advanced inputs are folded on the classic canvas, and are queued as before."""

from __future__ import annotations

from itertools import pairwise

MAKE = """async () => {
    const graph = window.app.graph;
    const used = graph.last_node_id;
    graph.clear();
    graph.last_node_id = used;
    const node = window.LiteGraph.createNode("CoDenoiseKSampler");
    graph.add(node);
    await new Promise((resolve) => setTimeout(resolve, 800));
    const shown = () => node.widgets.filter((widget) => node.isWidgetVisible(widget)).map((widget) => widget.name);
    const folded = [shown(), node.size[1]];
    window.app.canvas.draw(true, true);
    const places = node.widgets.filter((widget) => node.isWidgetVisible(widget)).map((widget) => widget.y);
    node.toggleAdvanced();
    const open = [shown(), node.size[1]];
    node.toggleAdvanced();
    node.widgets.find((widget) => widget.name === "stride").value = 3;
    return {folded, open, places, queued: (await window.app.graphToPrompt()).output[node.id].inputs};
}"""


def test_advanced_inputs_are_folded_and_queued(page, server):
    seen = page.evaluate(MAKE)
    info = server.get("/object_info/CoDenoiseKSampler")["CoDenoiseKSampler"]["input"]
    inputs = {**info["required"], **info["optional"]}
    advanced = {name for name, spec in inputs.items() if len(spec) > 1 and spec[1].get("advanced")}
    assert len(advanced) > 5
    assert not advanced & set(seen["folded"][0])
    assert advanced <= set(seen["open"][0])
    assert {"window", "overlap", "schedule"} <= set(seen["folded"][0])
    assert all(0 < after - before < 40 for before, after in pairwise(seen["places"]))  # no gaps
    assert seen["folded"][1] < seen["open"][1] - 100
    assert seen["queued"]["stride"] == 3
    assert advanced <= set(seen["queued"])


def test_an_advanced_input_with_a_link_is_shown_when_its_graph_is_opened(page):
    shown = page.evaluate(
        """async () => {
            const graph = window.app.graph;
            graph.clear();
            const sampler = window.LiteGraph.createNode("CoDenoiseKSampler");
            const number = window.LiteGraph.createNode("PrimitiveInt");
            graph.add(sampler);
            graph.add(number);
            number.connect(0, sampler, sampler.inputs.findIndex((input) => input.name === "stride"));
            await window.app.loadGraphData(graph.serialize());
            const found = window.app.graph.nodes.find((each) => each.type === "CoDenoiseKSampler");
            return found.isWidgetVisible(found.widgets.find((widget) => widget.name === "stride"));
        }"""
    )
    assert shown
