"""The nodes in ComfyUI's own front end in Chinese and Japanese, what a menu brings among them."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHOWN = """(node) => {
    const made = window.LiteGraph.createNode(node);
    window.app.graph.add(made);
    return {
        title: made.title, category: made.constructor.category,
        widgets: made.widgets.map((each) => [each.name, each.label]),
        inputs: made.inputs.map((each) => [each.name, each.localized_name]),
        outputs: made.outputs.map((each) => each.localized_name),
    };
}"""

#: Whether an advanced input is seen on the classic canvas.
OPEN = """() => {
    const made = window.LiteGraph.createNode("CoDenoiseKSampler");
    window.app.graph.add(made);
    return made.isWidgetVisible(made.widgets.find((each) => each.name === "stride"));
}"""


@pytest.mark.parametrize("language", ["zh", "ja"])
def test_the_editor_shows_the_translations(page, language):
    page.evaluate("(language) => window.app.extensionManager.setting.set('Comfy.Locale', language)", language)
    page.reload(wait_until="domcontentloaded")
    page.wait_for_function(
        "() => 'ControlPreprocess' in (window.app?.graph && window.LiteGraph?.registered_node_types || {})",
        timeout=120_000,
    )
    told = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    categories = json.loads((ROOT / "locales" / language / "main.json").read_text(encoding="utf-8"))["nodeCategories"]
    for node in ("CoDenoiseKSampler", "ControlPreprocess", "SaveLongVideo"):
        shown, texts = page.evaluate(SHOWN, node), told[node]
        assert shown["title"] == texts["display_name"]
        assert shown["category"].startswith(categories["long video"] + "/")
        names = {name.replace(".", "_"): label for name, label in [*shown["inputs"], *shown["widgets"]]}
        names.pop("control_after_generate", None)
        assert names == {name: texts["inputs"][name]["name"] for name in names}
        assert shown["outputs"] == [each["name"] for each in texts["outputs"].values()]
    assert not page.evaluate(OPEN)  # folded as in English
    assert "kind_low_threshold" in told["ControlPreprocess"]["inputs"]
