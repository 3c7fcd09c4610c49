"""The editor's texts in Chinese and Japanese: every node, input and output has them, and the host hands them out."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.every_host


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    return module


@pytest.fixture(scope="module")
def nodes(server):
    return {
        name: node for name, node in server.get("/object_info").items() if node["category"].startswith("long video/")
    }


def inputs(described, prefix=""):
    """The editor's keys: menus and what their entries bring are joined by an underscore."""
    for name, spec in {**described.get("required", {}), **described.get("optional", {})}.items():
        yield f"{prefix}{name}"
        if isinstance(spec[0], str) and "DYNAMICCOMBO" in spec[0]:
            for option in spec[1]["options"]:
                yield from inputs(option["inputs"], f"{prefix}{name}_")


@pytest.mark.parametrize(("language", "script"), [("zh", r"[\u4e00-\u9fff]"), ("ja", r"[\u3040-\u30ff\u4e00-\u9fff]")])
def test_every_node_input_and_output_is_translated(server, nodes, language, script):
    told = server.get("/i18n")[language]["nodeDefs"]
    assert {name for name in told if name in nodes} == set(nodes)
    shipped = json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    assert set(shipped) == set(nodes)
    for name, node in nodes.items():
        texts = told[name]
        assert set(texts["inputs"]) == set(inputs(node["input"])), name
        assert set(texts["outputs"]) == {str(at) for at in range(len(node["output"]))}, name
        assert re.search(script, texts["description"])
        assert all(each["name"].strip() for part in ("inputs", "outputs") for each in texts[part].values())
    translated = [name for name in nodes if re.search(script, told[name]["display_name"])]
    assert len(translated) >= len(nodes) - 1  # MS-Vid2Vid Sigmas


def test_the_files_are_what_the_words_make(server, nodes):
    builder = load(ROOT / "locales" / "build_locales.py")
    words = json.loads((ROOT / "locales" / "words.json").read_text(encoding="utf-8"))
    for at, language in enumerate(builder.LANGUAGES):
        made = builder.node_defs(nodes, words, at)
        assert made == json.loads((ROOT / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    used = {name for node in nodes.values() for name in builder.names_of(node["input"]).values()}
    used |= {name for node in nodes.values() for name in node["output_name"]}
    assert set(words["words"]) == used and set(words["nodes"]) == set(nodes)


@pytest.mark.parametrize("language", ["zh", "ja"])
@pytest.mark.parametrize(
    "node",
    ["LongLatent", "MultiPromptSchedule", "CoDenoiseKSampler", "StreamingExtend", "LoadLongVideo", "SaveLongVideo"],
)
def test_the_main_nodes_have_translated_help_where_the_editor_looks_first(server, nodes, node, language):
    page = server.fetch(f"/extensions/long_video_pack/docs/{node}/{language}.md").decode()
    assert [name for name in inputs(nodes[node]["input"]) if f"`{name}`" not in page] == []
    assert len(re.findall(r"[\u3040-\u30ff\u4e00-\u9fff]", page)) > 180


@pytest.mark.parametrize(
    "path", sorted((ROOT / "web" / "docs").glob("*/*.md")), ids=lambda path: f"{path.parent.name}-{path.stem}"
)
def test_translated_help_names_no_input_that_is_not_there(nodes, path):
    """What stands before the colons of its list of inputs, the first list."""
    rows = [row for row in path.read_text(encoding="utf-8").partition("\n\n##")[0].splitlines() if row.startswith("- ")]
    named = [name for row in rows for name in re.findall(r"`(\w+)`", row.partition("：")[0])]
    assert named and set(named) <= set(inputs(nodes[path.parent.name]["input"]))
