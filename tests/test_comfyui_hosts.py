"""Which ComfyUIs are tested, and the line to the process in each; without one."""

from __future__ import annotations

import os
import sys
import textwrap
import time
from pathlib import Path

import pytest
from comfyui_hosts import Host, Worker, find_hosts


@pytest.fixture
def install(tmp_path):
    """Makes a folder that looks like a ComfyUI."""

    def make(name: str, version: str, venv: bool = False) -> Path:
        folder = tmp_path / name / "ComfyUI"
        folder.mkdir(parents=True)
        (folder / "main.py").touch()
        (folder / "comfyui_version.py").write_text(f'# made\n__version__ = "{version}"\n')
        if venv:
            python = folder / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
            python.parent.mkdir(parents=True)
            python.touch()
        return folder.resolve()

    return make


def found(tmp_path, **environment):
    return [
        (host.path, host.version, host.python)
        for host in find_hosts({key: str(value) for key, value in environment.items()}, tmp_path / "home")
    ]


def test_several_comfyuis_the_newest_first(install, tmp_path):
    old, new = install("old", "0.9.10", venv=True), install("new", "0.33.0")
    hosts = found(tmp_path, COMFYUI_PATH=f"{old}{os.pathsep}{new}")
    assert [(path, version) for path, version, _ in hosts] == [(new, "0.33.0"), (old, "0.9.10")]
    assert hosts[0][2] == sys.executable
    assert Path(hosts[1][2]).is_relative_to(old / ".venv")


def test_each_has_its_interpreter(install, tmp_path):
    old, new = install("old", "0.12.1", venv=True), install("new", "0.33.0", venv=True)
    both = f"{old}{os.pathsep}{new}"
    hosts = found(tmp_path, COMFYUI_PATH=both, COMFYUI_PYTHON=f"/a/python{os.pathsep}/b/python")
    assert [(path, python) for path, _, python in hosts] == [(new, "/b/python"), (old, "/a/python")]
    hosts = found(tmp_path, COMFYUI_PATH=both, COMFYUI_PYTHON="/a/python")
    assert {python for _, _, python in hosts} == {"/a/python"}
    hosts = found(tmp_path, COMFYUI_PATH=both, COMFYUI_PYTHON=f"/a/python{os.pathsep}")
    assert hosts[1][2] == "/a/python" and Path(hosts[0][2]).is_relative_to(new / ".venv")
    with pytest.raises(pytest.UsageError, match="2 interpreters for 1"):
        found(tmp_path, COMFYUI_PATH=old, COMFYUI_PYTHON=f"/a{os.pathsep}/b")


def test_the_usual_place_and_none(install, tmp_path):
    assert found(tmp_path) == []
    usual = install("home/comfy", "0.20.0")
    assert [path for path, *_ in found(tmp_path)] == [usual]
    assert [path for path, *_ in found(tmp_path, COMFYUI_PATH="")] == [usual]
    with pytest.raises(pytest.UsageError, match="elsewhere"):
        found(tmp_path, COMFYUI_PATH=tmp_path / "elsewhere")


@pytest.fixture
def worker(tmp_path):
    """A worker of its own kind: it answers ``[module, function]`` after so many seconds as the arguments say."""
    script = tmp_path / "answers.py"
    script.write_text(
        textwrap.dedent("""
            import json, os, sys, time
            for line in sys.stdin:
                number, module, function, arguments = json.loads(line)
                if function == "stale":
                    print("RESULT " + json.dumps([number - 1, {"value": "an older answer"}]), flush=True)
                if function == "end":
                    os._exit(3)
                time.sleep(arguments.get("seconds", 0))
                print("something that the host prints", flush=True)
                answer = {"error": "it says so"} if function == "fail" else {"value": [module, function, os.getpid()]}
                print("RESULT " + json.dumps([number, answer]), flush=True)
        """)
    )
    made = Worker(Host(tmp_path, sys.executable, "0"), tmp_path / "base", command=[sys.executable, str(script)])
    yield made
    made.close(0)


def test_a_worker_answers_and_keeps_its_process(worker):
    first, second = worker.call("a", "b"), worker.call("c", "d")
    assert first[:2] == ["a", "b"] and second[:2] == ["c", "d"] and first[2] == second[2]
    with pytest.raises(RuntimeError, match="it says so"):
        worker.call("a", "fail")
    assert worker.call("a", "b")[2] == first[2]


def test_an_answer_to_another_request_is_not_taken(worker):
    assert worker.call("a", "stale")[:2] == ["a", "stale"]


def test_a_call_that_is_cut_off_ends_its_process(worker, monkeypatch):
    """As pytest's time limit does it: an exception out of the blue while the answer is awaited."""
    pid = worker.call("a", "b")[2]
    process = worker._process

    class Cut:
        def __iter__(self):
            raise KeyboardInterrupt

        def close(self):
            pass

    monkeypatch.setattr(process, "stdout", Cut())
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        worker.call("a", "slow", seconds=600)
    assert time.monotonic() - begin < 30
    assert process.poll() is not None
    fresh = worker.call("a", "next")
    assert fresh[:2] == ["a", "next"] and fresh[2] != pid


def test_a_process_that_ends_is_said_and_replaced(worker):
    with pytest.raises(RuntimeError, match="stopped"):
        worker.call("a", "end")
    assert worker.call("a", "b")[:2] == ["a", "b"]
