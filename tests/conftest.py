"""Finds a ComfyUI for the host and browser tests, and says in the last lines of the run when there is none.

Two ways into it: ``inside`` runs functions in ComfyUI's interpreter, ``server`` is its HTTP server with the pack.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACK = "long_video_pack"


def find_comfyui() -> Path | None:
    """COMFYUI_PATH, else the ComfyUI that contains the pack, else ~/comfy/ComfyUI."""
    if os.environ.get("COMFYUI_PATH"):
        places = [Path(os.environ["COMFYUI_PATH"])]
    else:
        places = [Path.home() / "comfy" / "ComfyUI"]
        if ROOT.parent.name == "custom_nodes":
            places.insert(0, ROOT.parent.parent)
    return next((place.resolve() for place in places if (place / "main.py").is_file()), None)


def find_interpreter(comfyui: Path) -> str:
    """COMFYUI_PYTHON, else the .venv in ComfyUI's folder, else the one that runs the tests."""
    if os.environ.get("COMFYUI_PYTHON"):
        return os.environ["COMFYUI_PYTHON"]
    inside = comfyui / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return str(inside) if inside.exists() else sys.executable


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"host", "browser"} & set(Path(item.fspath).relative_to(ROOT).parts) and find_comfyui() is None:
            item.add_marker(pytest.mark.skip(reason="no ComfyUI found"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if find_comfyui() is None:
        terminalreporter.write_line(
            "No ComfyUI found: the host and browser tests were SKIPPED. Set COMFYUI_PATH to a ComfyUI folder."
        )


@contextmanager
def comfyui_worker(base: Path, *flags: str) -> Iterator[Callable[..., Any]]:
    """ComfyUI's interpreter with the pack; yields ``call("module", "function", **arguments)`` of ``tests/host/inside``.

    ``base`` is a folder for models, output and the log. An exception there, or its end, is a RuntimeError here.
    """
    comfyui = find_comfyui()
    with (base / "worker.log").open("w+") as log:
        worker = subprocess.Popen(
            [find_interpreter(comfyui), str(ROOT / "tests/host/worker.py"), str(comfyui), str(ROOT), str(base), *flags],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=comfyui,
        )  # fmt: skip

        def call(module: str, function: str, **arguments: Any) -> Any:
            worker.stdin.write(json.dumps([module, function, arguments]) + "\n")
            worker.stdin.flush()
            for line in worker.stdout:
                if line.startswith("RESULT "):
                    result = json.loads(line.removeprefix("RESULT "))
                    if "error" in result:
                        raise RuntimeError(f"inside ComfyUI:\n{result['error']}")
                    return result["value"]
            log.seek(0)
            raise RuntimeError(f"the worker inside ComfyUI stopped:\n{log.read()[-4000:]}")

        try:
            yield call
        finally:
            worker.stdin.close()
            try:
                worker.wait(30)
            except subprocess.TimeoutExpired:
                worker.kill()


@pytest.fixture(scope="session")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Any]]:
    """``inside("module", "function", **arguments)``, see ``comfyui_worker``."""
    with comfyui_worker(tmp_path_factory.mktemp("comfyui_inside")) as run:

        def call(*names: str, **arguments: Any) -> Any:
            try:
                return run(*names, **arguments)
            except RuntimeError as error:
                pytest.fail(str(error), pytrace=False)

        yield call


@pytest.fixture
def inside_alone(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """``inside`` in a process of its own, for what a process can be measured by."""
    base = tmp_path / "comfyui_alone"
    base.mkdir()
    with comfyui_worker(base) as run:
        yield run


class Server:
    """A running ComfyUI with the pack, and what tests ask of it."""

    def __init__(self, url: str, base: Path, log: Path) -> None:
        self.url, self.base, self.log = url, base, log

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def fetch(self, path: str) -> bytes:
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return answer.read()

    def post(self, path: str, body: dict) -> tuple[int, dict]:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def run(self, prompt: dict, timeout: float = 600) -> tuple[dict, list[Any]]:
        """Queue an API prompt and follow it to its end: its history entry and the messages on the way."""
        import websocket

        client = uuid.uuid4().hex
        socket_ = websocket.create_connection(f"ws{self.url[4:]}/ws?clientId={client}", timeout=timeout)
        try:
            status, answer = self.post("/prompt", {"prompt": prompt, "client_id": client})
            assert status == 200, answer
            messages = []
            while True:
                message = socket_.recv()
                if isinstance(message, bytes):
                    messages.append(message)
                    continue
                message = json.loads(message)
                messages.append(message)
                data = message["data"]
                if message["type"] in ("execution_error", "execution_interrupted"):
                    pytest.fail(f"{message}\n{self.log.read_text()[-3000:]}", pytrace=False)
                if message["type"] == "executing" and data["node"] is None:
                    break
        finally:
            socket_.close()
        return self.get(f"/history/{answer['prompt_id']}")[answer["prompt_id"]], messages


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real ComfyUI on a free port with the pack as its only custom node."""
    comfyui = find_comfyui()
    base = tmp_path_factory.mktemp("comfyui_server")
    for folder in ("models/diffusers", "custom_nodes", "input", "output", "temp", "user"):
        (base / folder).mkdir(parents=True)
    (base / "custom_nodes" / PACK).symlink_to(ROOT, target_is_directory=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = base / "server.log"
    command = [
        find_interpreter(comfyui), "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port),
        "--base-directory", str(base), "--database-url", f"sqlite:///{base}/user/test.db", "--disable-assets-autoscan",
        "--disable-all-custom-nodes", "--whitelist-custom-nodes", PACK, "--disable-api-nodes", "--disable-auto-launch",
        "--preview-method", "latent2rgb", "--dont-print-server",
    ]  # fmt: skip
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=comfyui, stdout=out, stderr=subprocess.STDOUT)
    running = Server(f"http://127.0.0.1:{port}", base, log)
    try:
        for _ in range(600):
            if process.poll() is not None:
                pytest.fail(f"ComfyUI stopped:\n{log.read_text()[-4000:]}", pytrace=False)
            try:
                running.get("/system_stats")
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        else:
            pytest.fail(f"ComfyUI did not start:\n{log.read_text()[-4000:]}", pytrace=False)
        yield running
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
