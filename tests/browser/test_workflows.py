"""The graph workflows in ComfyUI's own front end, in headless Chromium: they queue the API prompt beside them."""

import json
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted(path.name for path in (ROOT / "workflows").glob("*.json"))
BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]


def find_browser() -> str | None:
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


@pytest.fixture(scope="module")
def page(server, tmp_path_factory):
    sync_api = pytest.importorskip("playwright.sync_api")
    browser_path = find_browser()
    if browser_path is None:
        pytest.skip("no Chromium found")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path,
            args=[
                "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                "--disable-component-update", "--disable-sync",
            ],
        )  # fmt: skip
        page = browser.new_page(viewport={"width": 1600, "height": 900})
        page.messages = []
        page.on("console", lambda message: page.messages.append((message.type, message.text, message.location)))
        page.on("pageerror", lambda error: page.messages.append(("pageerror", str(error), {})))
        page.goto(server.url, wait_until="domcontentloaded", timeout=120_000)
        page.wait_for_function("() => window.app && window.app.graph && window.LiteGraph", timeout=120_000)
        page.wait_for_function("() => 'CoDenoiseKSampler' in window.LiteGraph.registered_node_types", timeout=120_000)
        yield page
        browser.close()


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
