"""ComfyUI's own front end in headless Chromium."""

from __future__ import annotations

import shutil

import pytest
from comfyui_hosts import numbers

BROWSERS = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]


def find_browser() -> str | None:
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


@pytest.fixture
def newer_editor(comfyui):
    """Skips where the editor is the old one, which has no app mode, and other dialogs."""
    if numbers(comfyui.version) < [0, 33]:
        pytest.skip(f"the editor of ComfyUI {comfyui.version} has no app mode, and other dialogs")


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
        # Or a dialog of templates lies above the graph, and what other tests chose stays.
        chosen = {"Comfy.TutorialCompleted": True, "Comfy.Locale": "en", "Comfy.VueNodes.Enabled": False}
        server.post("/settings", chosen)
        page.goto(server.url, wait_until="domcontentloaded", timeout=120_000)
        page.wait_for_function("() => window.app && window.app.graph && window.LiteGraph", timeout=120_000)
        page.wait_for_function("() => 'CoDenoiseKSampler' in window.LiteGraph.registered_node_types", timeout=120_000)
        yield page
        browser.close()
