"""Writes the editor's texts in Chinese and Japanese (``zh`` and ``ja``) from ``words.json``.

``python locales/build_locales.py [--server http://127.0.0.1:8188]`` asks a running ComfyUI which nodes the pack has and
which inputs and outputs those have, and writes ``<language>/nodeDefs.json`` and ``main.json``, which ComfyUI reads.
``words.json`` has each node's name and description, and a word for each name of an input or output, in both languages.
Tooltips stay English.
"""

from __future__ import annotations

import argparse
import json
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
LANGUAGES = ("zh", "ja")  # in the order in which words.json has them
CATEGORY = "long video"
_MENU = "COMFY_DYNAMICCOMBO_V3"  # a choice that brings inputs of its own


def names_of(described: dict, prefix: str = "") -> dict[str, str]:
    """A node's inputs, those of all entries of its menus among them: the editor's key -> the name."""
    names = {}
    for kind in ("required", "optional"):
        for name, spec in described.get(kind, {}).items():
            names[f"{prefix}{name}"] = name
            if spec[0] == _MENU:
                for option in spec[1]["options"]:
                    names |= names_of(option["inputs"], f"{prefix}{name}_")
    return names


def node_defs(info: dict, words: dict, at: int) -> dict:
    """What ``nodeDefs.json`` holds of the pack's nodes, in the language at this place.

    Args:
        info: /object_info of the pack's nodes alone.

    Raises:
        KeyError: a node, an input or an output has no words.
    """
    return {
        node: {
            "display_name": words["nodes"][node][at][0],
            "description": words["nodes"][node][at][1],
            "inputs": {key: {"name": words["words"][name][at]} for key, name in names_of(described["input"]).items()},
            "outputs": {
                str(slot): {"name": words["words"][name][at]} for slot, name in enumerate(described["output_name"])
            },
        }
        for node, described in sorted(info.items())
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", default="http://127.0.0.1:8188", help="address of a running ComfyUI with the pack")
    with urllib.request.urlopen(f"{parser.parse_args().server}/object_info") as answer:
        everything = json.load(answer)
    info = {node: each for node, each in everything.items() if each["category"].startswith(f"{CATEGORY}/")}
    words = json.loads((HERE / "words.json").read_text(encoding="utf-8"))
    for at, language in enumerate(LANGUAGES):
        (HERE / language).mkdir(exist_ok=True)
        for name, texts in (
            ("nodeDefs", node_defs(info, words, at)),
            ("main", {"nodeCategories": {each: both[at] for each, both in words["categories"].items()}}),
        ):
            text = json.dumps(texts, ensure_ascii=False, indent=1) + "\n"
            (HERE / language / f"{name}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
