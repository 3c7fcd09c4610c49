"""Arrows between the rooms run one way, as ARCHITECTURE.md says: reads every import, relative and late ones too."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HOSTS = {
    "comfy", "comfy_api", "comfy_execution", "comfy_extras", "diffusers", "execution", "folder_paths", "latent_preview",
    "server", "transformers",
}  # fmt: skip
#: Floors from bottom to top; a module imports from its own floor or from those below it. The longest prefix counts.
FLOORS = {
    "glv_core": 0,
    "glv_core.demo": 1,
    "glv_core.streamingt2v": 1,
    "glv_core.hosts": 2,
    "glv_core.hosts.transformers": 2,
    "glv_core.hosts.diffusers": 2,
    "glv_core.hosts.comfy": 3,
    "glv_core.cli": 4,
    "glv_core.__main__": 5,
    "nodes": 5,
    "training": 5,
    "": 6,
}
#: Rooms of one floor whose modules may ask each other only along these arrows.
ROOMS = {
    "glv_core.hosts": {"comfy": {"transformers", "diffusers"}, "diffusers": set(), "transformers": set()},
    "glv_core.hosts.comfy": {
        "families": {"memory"},
        "memory": set(),
        "host_symbols": set(),
        "co_denoise": {"families", "memory"},
        "streaming": {"families", "co_denoise"},
        "video": {"families", "memory"},
        "vision": {"families", "video"},
        "loading": {"families"},
        "editing": {"families", "co_denoise"},
        "conditioning": {"families", "video"},
        "tuning": {"families", "co_denoise", "streaming", "editing"},
        "editor": {"families", "co_denoise", "streaming"},
    },
}


def module_name(path: Path, root: Path = ROOT) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path
    for path in (
        ROOT / "__init__.py",
        *(f for top in ("nodes", "glv_core", "training") for f in (ROOT / top).rglob("*.py")),
    )
}


def imports_of(name: str, modules: dict[str, Path] = MODULES) -> list[tuple[str, bool]]:
    """What a module imports: full dotted names of ours and of others, and whether when it is imported itself.

    Relative imports are resolved; those inside functions run later; those for type checkers alone are left out.
    """
    path = modules[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found: list[tuple[str, bool]] = []

    def visit(nodes: Iterable[ast.AST], at_once: bool) -> None:
        for node in nodes:
            if isinstance(node, ast.Import):
                found.extend((alias.name, at_once) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                above = package[: len(package) - node.level + 1] if node.level else []
                base = ".".join([*above, *(node.module or "").split(".")]).strip(".")
                for alias in node.names:
                    inner = f"{base}.{alias.name}".strip(".")
                    found.append((inner if inner in modules else base, at_once))
            elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
                function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                visit(ast.iter_child_nodes(node), at_once and not function)

    visit(ast.parse(path.read_text()).body, True)
    return found


def floor_of(name: str) -> int:
    return FLOORS[max((each for each in FLOORS if f"{name}.".startswith(f"{each}." if each else "")), key=len)]


def wrong_arrows(modules: dict[str, Path] = MODULES) -> list[str]:
    """Imports that go up, or along no arrow between rooms."""
    wrong = []
    for name in modules:
        for target in {each for each, _ in imports_of(name, modules) if each in modules}:
            if floor_of(target) > floor_of(name):
                wrong.append(f"{name} -> {target} goes up")
            for floor, rooms in ROOMS.items():
                inside = [each.removeprefix(f"{floor}.").split(".")[0] for each in (name, target)]
                if not all(each.startswith(f"{floor}.") for each in (name, target)) or inside[0] == inside[1]:
                    continue
                if inside[1] not in rooms[inside[0]]:
                    wrong.append(f"{name} -> {target} is no arrow between rooms")
    return wrong


def circles(modules: dict[str, Path] = MODULES) -> list[set[str]]:
    """Modules that import each other, at once or later."""
    imports = {name: {target for target, _ in imports_of(name, modules) if target in modules} for name in modules}
    reached: dict[str, set[str]] = {}
    for name in modules:
        waiting, seen = [name], set()
        while waiting:
            new = imports[waiting.pop()] - seen
            seen |= new
            waiting += new
        reached[name] = seen
    return [{name, *(each for each in seen if name in reached[each])} for name, seen in reached.items() if name in seen]


def test_arrows_run_one_way():
    assert not wrong_arrows()
    for floor, rooms in ROOMS.items():  # the table itself: no circle, and no room is missing
        there = {name.removeprefix(f"{floor}.").split(".")[0] for name in MODULES if name.startswith(f"{floor}.")}
        assert there == set(rooms)
        assert all(room not in rooms[other] for room, others in rooms.items() for other in others)


def test_every_import_of_ours_is_there():
    ours = {
        name: {each for each, _ in imports_of(name) if each.split(".")[0] in ("glv_core", "nodes")} for name in MODULES
    }
    assert not {name: missing for name, targets in ours.items() if (missing := targets - set(MODULES))}


def test_no_imports_go_in_a_circle():
    assert not circles()


def test_the_guard_sees_relative_and_late_imports(tmp_path):
    texts = {
        "glv_core/__init__.py": "",
        "glv_core/windows.py": "def f():\n    from .hosts.comfy import co_denoise\n",
        "glv_core/hosts/__init__.py": "",
        "glv_core/hosts/comfy/__init__.py": "",
        "glv_core/hosts/comfy/co_denoise.py": "from .streaming import x\n",
        "glv_core/hosts/comfy/streaming/__init__.py": "from .. import co_denoise\n",
    }
    modules = {}
    for name, text in texts.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        modules[module_name(path, tmp_path)] = path
    assert set(wrong_arrows(modules)) == {
        "glv_core.windows -> glv_core.hosts.comfy.co_denoise goes up",
        "glv_core.hosts.comfy.co_denoise -> glv_core.hosts.comfy.streaming is no arrow between rooms",
    }
    circle = {"glv_core.hosts.comfy.co_denoise", "glv_core.hosts.comfy.streaming"}
    assert circles(modules) == [circle, circle]


def test_only_hosts_and_training_know_a_host():
    bad = {}
    for name in MODULES:
        if name.startswith("glv_core") and not name.startswith("glv_core.hosts"):
            known = {target.split(".")[0] for target, at_once in imports_of(name) if at_once} & HOSTS
            bad |= {name: known} if known else {}
    assert not bad


def test_everything_inside_the_pack_is_imported_relatively():
    for name, path in MODULES.items():
        if not name.startswith("training"):
            tree = ast.walk(ast.parse(path.read_text()))
            absolute = [node.module for node in tree if isinstance(node, ast.ImportFrom) and not node.level]
            assert not [each for each in absolute if each.split(".")[0] in ("glv_core", "nodes")], path
