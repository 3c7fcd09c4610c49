"""Promises of the repository itself: the README's commands, the pack's metadata, and what the pack may import."""

import ast
import importlib.util
import itertools
import json
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_ci_runs_the_readmes_test_command():
    command = (ROOT / ".ci" / "run").read_text().strip().splitlines()[-1]
    assert "pytest" in command and f"\n{command}\n" in (ROOT / "README.md").read_text()


def test_the_version_has_one_place(tmp_path):
    def version_of(init):
        spec = importlib.util.spec_from_file_location("copied_core", init)
        spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
        return module.__version__

    init = ROOT / "glv_core" / "__init__.py"
    assert version_of(init) == PROJECT["project"]["version"]  # a literal, which the Comfy registry reads
    (copied := tmp_path / "glv_core" / "__init__.py").parent.mkdir()
    copied.write_text(init.read_text())
    (tmp_path / "pyproject.toml").write_text('[project]\nrequires-comfyui = "7"\nversion = "1.2.3"\n')
    assert version_of(copied) == "1.2.3"
    (tmp_path / "pyproject.toml").unlink()
    assert version_of(copied)  # the installed distribution's, or that it is unknown
    released = re.findall(r"^## \[(\d\S*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released[0] == PROJECT["project"]["version"]


def test_the_workflows_run_what_the_readme_and_the_project_name():
    yaml = pytest.importorskip("yaml")
    read = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / ".github").rglob("*.yml")}
    assert set(read) == {"test.yml", "publish.yml", "bug.yml"}
    command = (ROOT / ".ci" / "run").read_text().strip().splitlines()[-1]
    jobs = read["test.yml"]["jobs"]
    for job in jobs.values():
        assert any(step.get("run", "").strip().startswith(command) for step in job["steps"])
    assert jobs["host"]["strategy"]["matrix"]["comfyui"] == PROJECT["tool"]["genlong"]["tested-comfyui"]
    oldest = min(jobs["core"]["strategy"]["matrix"]["python"], key=lambda version: int(version.split(".")[1]))
    assert PROJECT["project"]["requires-python"] == f">={oldest}"
    assert {field.get("id") for field in read["bug.yml"]["body"]} >= {
        "comfyui",
        "pack",
        "models",
        "workflow",
        "log",
        "gpu",
    }
    (hooks,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert f"ruff=={hooks['rev'].removeprefix('v')}" in (ROOT / "constraints.txt").read_text().splitlines()


def test_requirements_never_touch_the_hosts_torch():
    wanted = [*PROJECT["project"]["dependencies"], *(ROOT / "requirements.txt").read_text().splitlines()]
    names = {re.match(r"[\w-]+", line)[0].lower() for line in wanted if line and not line.startswith("#")}
    assert not names & {"torch", "torchvision", "torchaudio", "xformers", "triton", "diffusers", "transformers"}


def test_registry_metadata():
    assert "comfyui" not in PROJECT["project"]["name"].lower()
    assert PROJECT["tool"]["comfy"]["PublisherId"] and PROJECT["tool"]["comfy"]["DisplayName"]
    assert "Apache License" in (ROOT / PROJECT["project"]["license"]["file"]).read_text()
    repository = PROJECT["project"]["urls"]["Repository"].replace(
        "https://github.com", "https://raw.githubusercontent.com"
    )
    for name, shape in (("Icon", (1, 1)), ("Banner", (21, 9))):
        address, _, path = PROJECT["tool"]["comfy"][name].partition("/main/")
        width, height = Image.open(ROOT / path).size
        assert address == repository and width * shape[1] == height * shape[0] and height >= 400


def test_readme_and_help_name_the_comfyuis_that_were_run():
    oldest, newest = PROJECT["tool"]["genlong"]["tested-comfyui"]
    assert PROJECT["tool"]["comfy"]["requires-comfyui"] == f">={oldest}"
    for text in ((ROOT / "README.md").read_text(), (ROOT / "web" / "docs" / "CoDenoiseKSampler.md").read_text()):
        assert set(re.findall(r"ComfyUI (\d+\.\d+\.\d+)", text)) <= {oldest, newest}
        assert f"ComfyUI {oldest}" in text and newest in text


@pytest.mark.parametrize(("folder", "pipeline"), [("model", "WanPipeline"), ("streaming_t2v", "TextToVideoSDPipeline")])
def test_the_demo_models_are_small_and_safe(folder, pipeline):
    files = [path for path in (ROOT / "glv_core" / "demo" / folder).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 20e6
    assert not [path.name for path in files if path.suffix in {".bin", ".pt", ".pth", ".ckpt", ".pkl"}]
    index = json.loads((ROOT / "glv_core" / "demo" / folder / "model_index.json").read_text())
    assert index["_class_name"] == pipeline


def test_every_node_is_registered_explained_and_tested():
    extension = (ROOT / "nodes" / "__init__.py").read_text()
    tests = (ROOT / "tests" / "host" / "test_server.py").read_text()
    found = {}
    for path in (ROOT / "nodes").rglob("*.py"):
        for each in ast.walk(ast.parse(path.read_text())):
            if isinstance(each, ast.ClassDef) and any(ast.unparse(base) == "io.ComfyNode" for base in each.bases):
                found[each.name] = re.search(r'display_name="(.+?)"', path.read_text())[1]
    assert len(found) >= 16
    listed = re.search(r"NODES = \[(.*?)\n\]", extension, re.DOTALL)[1]
    assert [name for name in found if not re.search(rf"\b{name}\b", listed)] == []  # nodes/__init__.py
    assert [name for name in found if not (ROOT / "web" / "docs" / f"{name}.md").is_file()] == []
    assert [name for name in found if f'"{name}"' not in tests] == []  # NODES in tests/host/test_server.py
    readme = (ROOT / "README.md").read_text()
    assert [name for name in found.values() if f"**{name.partition(' (')[0]}**" not in readme] == []


def test_every_choice_has_its_line_of_help():
    from glv_core.fusion import MERGES
    from glv_core.prompts import PROMPT_BLENDINGS
    from glv_core.window_schedules import SCHEDULES

    page = (ROOT / "web" / "docs" / "CoDenoiseKSampler.md").read_text()
    assert [name for name in (*SCHEDULES, *MERGES, *PROMPT_BLENDINGS) if f"`{name}`" not in page] == []


def test_help_pages_fit_a_narrow_panel():
    """No table but of short rows: the editor shows help beside the graph, in some 60 characters."""
    pages = sorted((ROOT / "web" / "docs").rglob("*.md"))
    assert len(pages) > 30
    rows = [(page.name, line) for page in pages for line in page.read_text().splitlines() if line.startswith("|")]
    assert [(name, line) for name, line in rows if len(line) > 60] == []


def test_every_control_kind_is_in_the_menu_the_help_and_the_readme():
    makers = _keys(ROOT / "glv_core" / "hosts" / "comfy" / "vision" / "control_models.py", "CONTROLS")
    assert makers == _keys(ROOT / "nodes" / "control_preprocess.py", "kinds")
    assert makers == _keys(ROOT / "tests" / "browser" / "test_control_preprocess.py", "KINDS")
    page, readme = ((ROOT / name).read_text() for name in ("web/docs/ControlPreprocess.md", "README.md"))
    assert [kind for kind in makers if f"- `{kind}`:" not in page] == []
    assert [kind for kind in makers if not re.search(rf"\*\*Control Preprocess\*\*.*\b{kind}\b", readme)] == []


def test_every_workflow_is_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    names = [path.stem for path in (ROOT / "workflows" / "api").glob("*.json")]
    assert names and [name for name in names if f"**{name}**" not in readme] == []


def test_every_blueprint_is_made_of_a_workflow_and_in_the_readme():
    """One node, whose widgets have values, and links that meet the inputs and outputs that they say."""
    readme = (ROOT / "README.md").read_text()
    for path in (ROOT / "subgraphs").glob("*.json"):
        assert f"**{path.stem}**" in readme
        graph = json.loads(path.read_text())
        [node], [definition] = graph["nodes"], graph["definitions"]["subgraphs"]
        assert node["type"] == definition["id"] and node["title"] == definition["name"] == path.stem
        assert len(node["properties"]["proxyWidgets"]) == len(node["widgets_values"])
        nodes = {each["id"]: each for each in definition["nodes"]}
        for link in definition["links"]:
            origin, target = nodes.get(link["origin_id"]), nodes.get(link["target_id"])
            start = origin["outputs"][link["origin_slot"]] if origin else definition["inputs"][link["origin_slot"]]
            end = target["inputs"][link["target_slot"]] if target else definition["outputs"][link["target_slot"]]
            assert link["id"] in (start["links"] if origin else start["linkIds"])
            assert link["id"] == end["link"] if target else link["id"] in end["linkIds"]
        assert {link["origin_id"] for link in definition["links"]} >= set(nodes), "a node feeds nothing"
        assert all(each["linkIds"] for each in definition["inputs"] + definition["outputs"])


GRAPHS = sorted((ROOT / "workflows").glob("*.json"))


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_a_graph_is_in_groups_and_says_what_to_change_first(path):
    graph = json.loads(path.read_text())
    [note] = [node for node in graph["nodes"] if node["type"] == "MarkdownNote"]
    nodes = [node for node in graph["nodes"] if node is not note]
    boxes = [group["bounding"] for group in graph["groups"]]
    for node in nodes:
        (x, y), (width, height) = node["pos"], node["size"]
        around = [b for b in boxes if b[0] <= x and x + width <= b[0] + b[2] and b[1] < y and y + height <= b[1] + b[3]]
        assert len(around) == 1, node["type"]
    for left, right in itertools.pairwise(boxes):
        assert left[0] + left[2] < right[0]
    assert len({group["title"] for group in graph["groups"]}) >= 4
    first = note["widgets_values"][0].partition("**Change first** (green): ")[2]
    assert first and [node for node in nodes if node.get("color")]
    names = {node["type"]: node.get("title") or display_name(node["type"]) for node in nodes if node.get("color")}
    assert [name for name in names.values() if f"**{name}**" not in first] == []


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_a_note_calls_nodes_by_their_names(path):
    graph = json.loads(path.read_text())
    [note] = [node["widgets_values"][0] for node in graph["nodes"] if node["type"] == "MarkdownNote"]
    named = set(re.findall(r"\*\*([A-Z][^*]+)\*\*", note.partition("**Change first**")[0]))
    nodes = [re.search(r'node_id="(.+?)"', path.read_text()) for path in (ROOT / "nodes").glob("*.py")]
    assert named <= {display_name(node[1]) for node in nodes if node} | {"Load Image", "CLIP Text Encode"}


def display_name(node):
    """As the editor shows it; of core's nodes those that are green somewhere."""
    core = {"LoadImage": "Load Image"}
    files = [path.read_text() for path in (ROOT / "nodes").glob("*.py")]
    own = [re.search(r'display_name="(.+?)"', text)[1] for text in files if f'node_id="{node}"' in text]
    return core.get(node) or own[0]


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_a_graph_offers_its_public_models_or_names_the_files(path):
    graph = json.loads(path.read_text())
    note = next(node["widgets_values"][0] for node in graph["nodes"] if node["type"] == "MarkdownNote")
    for node in graph["nodes"]:
        offered = {model["name"]: model for model in node.get("properties", {}).get("models", [])}
        values = [value for value in node["widgets_values"] if isinstance(value, str)]
        files = [value for value in values if re.fullmatch(r"\S+\.(safetensors|ckpt|pth|bin)", value)]
        assert set(offered) <= set(files)
        for file in files:
            model = offered.get(file)
            assert model or f"/{file}`" in note, f"{file} has no address, and the note does not name it"
            if model:
                assert model["url"].startswith("https://huggingface.co/") and model["url"].endswith(f"/{file}")
                assert "/resolve/main/" in model["url"]
                assert f"`{model['directory']}/" in note


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_a_thumbnail_is_a_square(path):
    width, height = Image.open(path.with_suffix(".jpg")).size
    assert width == height >= 512


def test_the_first_template_by_name_runs_as_shipped():
    """The template browser shows file names, and sorts by them (*Alphabetical*)."""
    first = min(GRAPHS, key=lambda path: path.stem.casefold())
    kinds = {node["class_type"] for node in json.loads((first.parent / "api" / first.name).read_text()).values()}
    assert "runs as shipped" in first.stem and "LoadVideoPipeline" in kinds
    assert not [path.name for path in GRAPHS if re.search(r'[%#?:*"<>|\\]', path.name)]  # addresses, and Windows


def test_the_tables_of_tasks_count_what_is_listed():
    """Each task has two lists of nodes, links and values; every name in bold is a template, blueprint or node."""
    text = (ROOT / "docs" / "tasks.md").read_text()
    rows = re.findall(r"^\| (\d)\. (.+?) \|(.+)\|$", text, re.MULTILINE)
    sections = re.findall(r"^## (\d)\. (.+?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert [row[:2] for row in rows] == [section[:2] for section in sections] and len(rows) == 7
    for (_, _, cells), (_, title, body) in zip(rows, sections, strict=True):
        lists = re.findall(r"^- (nodes|links|values) \((\d+)\):(.*)$", body, re.MULTILINE)
        assert [kind for kind, _, _ in lists] == ["nodes", "links", "values"] * 2, title
        counted = [len([each for each in named.split(";") if each.strip()]) for _, _, named in lists]
        assert counted == [int(number) for _, number, _ in lists] == [int(cell) for cell in cells.split("|")], title
    shipped = {path.stem for folder in ("workflows", "subgraphs") for path in (ROOT / folder).glob("*.json")}
    assert set(re.findall(r"\*\*(.+?)\*\*", text)) <= shipped | {"Before", "after"}


GUIDES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/benchmarks.md", "docs/tasks.md")


@pytest.mark.parametrize("guide", GUIDES)
def test_guides_lead_to_what_there_is(guide):
    """Links, paths in backticks, and tests by name."""
    text = (ROOT / guide).read_text()
    links = [link.partition("#")[0] for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text)]
    assert [link for link in links if link and not (ROOT / guide).parent.joinpath(link).exists()] == []
    tops = "glv_core|nodes|web|workflows|docs|tests|training|benchmarks|.github"
    paths = re.findall(rf"`((?:{tops})/[\w./]+?)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []
    written = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name in re.findall(r"`(test_\w+)`", text) if f"def {name}(" not in written] == []


def test_tests_and_scripts_import_what_there_is():
    """Those that run inside ComfyUI too, where a wrong name is found late."""
    wrong = []
    for path in (path for top in ("tests", "benchmarks", "docs") for path in (ROOT / top).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            name = (getattr(node, "module", None) or "").removeprefix("long_video_pack.")
            if isinstance(node, ast.ImportFrom) and not node.level and name.startswith(("glv_core", "nodes.")):
                place = ROOT.joinpath(*name.split("."))
                file = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
                known = set(re.findall(r"\w+", file.read_text())) if file.is_file() else set()
                missing = {
                    each.name for each in node.names if not {f"{each.name}.py", each.name} & _inside(place)
                } - known
                wrong += [f"{path.relative_to(ROOT)}:{node.lineno}: {name}.{each}" for each in missing]
    assert wrong == []


def _inside(place):
    return {path.name for path in place.iterdir()} if place.is_dir() else set()


def _keys(path, name):
    """The keys of the dictionary that a file gives this name."""
    for node in ast.walk(ast.parse(path.read_text())):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if isinstance(getattr(node, "value", None), ast.Dict) and name in [getattr(each, "id", "") for each in targets]:
            return {key.value for key in node.value.keys}
    raise AssertionError(f"{path.name} has no dictionary {name}")
