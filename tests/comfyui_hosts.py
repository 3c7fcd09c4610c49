"""The ComfyUIs that the host and browser tests and the benchmarks run in, and the two ways into each.

``Worker`` runs functions in ComfyUI's interpreter; ``Server`` is its HTTP server with the pack.
"""

from __future__ import annotations

import functools
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACK = "long_video_pack"
#: Models that not every tested ComfyUI has, by how the names of their workflows begin, and a node that comes with each.
MODELS = {"MiniMax H3": "MiniMaxH3ImageToVideo", "LTX-2.3 - Control": "GetICLoRAParameters"}


def api_prompt(begins: str) -> dict[str, dict]:
    """The shipped API prompt whose name begins like this."""
    [path] = [each for each in (ROOT / "workflows" / "api").glob("*.json") if each.name.startswith(begins)]
    return json.loads(path.read_text())


@dataclass(frozen=True)
class Host:
    """A ComfyUI install.

    ``path``: its folder; ``python``: its interpreter; ``version``: as ComfyUI says it.
    """

    path: Path
    python: str
    version: str

    def __str__(self) -> str:
        return f"ComfyUI {self.version} in {self.path}"


def find_hosts(environment: Mapping[str, str] = os.environ, home: Path | None = None) -> list[Host]:
    """The ComfyUIs to test with, the newest first.

    ``COMFYUI_PATH`` names one or several folders, separated as in PATH; else the ComfyUI that contains the pack, else
    ``~/comfy/ComfyUI``. ``COMFYUI_PYTHON`` names their interpreters in the same order, or one for all; an empty one, or
    none, is the ``.venv`` in ComfyUI's folder, else the interpreter that runs this.

    Raises:
        pytest.UsageError: COMFYUI_PATH names a folder that holds no ComfyUI, or the counts differ.
    """
    named = [name for name in environment.get("COMFYUI_PATH", "").split(os.pathsep) if name]
    places = [Path(name).expanduser() for name in named]
    if named:
        missing = [str(place) for place in places if not (place / "main.py").is_file()]
        if missing:
            raise pytest.UsageError(f"COMFYUI_PATH names {', '.join(missing)}, where there is no ComfyUI (no main.py).")
    else:
        usual = [ROOT.parent.parent] if ROOT.parent.name == "custom_nodes" else []
        usual.append((home or Path.home()) / "comfy" / "ComfyUI")
        places = [place for place in usual if (place / "main.py").is_file()][:1]
    given = environment.get("COMFYUI_PYTHON", "")
    pythons = given.split(os.pathsep) if given else []
    if len(pythons) > 1 and len(pythons) != len(places):
        raise pytest.UsageError(f"COMFYUI_PYTHON names {len(pythons)} interpreters for {len(places)} ComfyUIs.")
    pythons = pythons * len(places) if len(pythons) == 1 else pythons or [""] * len(places)
    hosts = [
        Host(place.resolve(), python or _interpreter(place), _version(place))
        for place, python in zip(places, pythons, strict=True)
    ]
    return sorted(hosts, key=lambda host: numbers(host.version), reverse=True)


def numbers(version: str) -> list[int]:
    """A version as numbers that can be compared."""
    return [int(part) for part in re.findall(r"\d+", version)]


@functools.cache
def hosts() -> tuple[Host, ...]:
    """``find_hosts`` of this process."""
    return tuple(find_hosts())


def find_host() -> Host | None:
    """The newest ComfyUI, or None."""
    return next(iter(hosts()), None)


def _interpreter(comfyui: Path) -> str:
    inside = comfyui / ".venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    return str(inside.absolute()) if inside.exists() else sys.executable


def _version(comfyui: Path) -> str:
    file = comfyui / "comfyui_version.py"
    found = re.search(r"__version__\s*=\s*[\"']([^\"']+)", file.read_text()) if file.is_file() else None
    return found[1] if found else "0"


class Worker:
    """ComfyUI's interpreter with the pack; ``call`` runs functions of ``tests/host/inside`` in it.

    Args:
        host: the ComfyUI.
        base: a folder for models, output and the log.
        flags: ``--gpu`` to use the graphics card, and flags of ComfyUI's own.

    A call that is cut off (a test's time limit, a key press) leaves its work running; the process is then ended, and
    the next call has one of its own. An answer is taken only for the request that it names.
    """

    def __init__(self, host: Host, base: Path, *flags: str, command: list[str] | None = None) -> None:
        base.mkdir(parents=True, exist_ok=True)
        script = str(ROOT / "tests/host/worker.py")
        self._command = command or [host.python, script, str(host.path), str(ROOT), str(base), *flags]
        self._directory = host.path
        self._log = base / "worker.log"
        self._process: subprocess.Popen | None = None
        self._number = 0

    def call(self, module: str, function: str, **arguments: Any) -> Any:
        """What the function returns; an exception there, or the end of the process, is a RuntimeError here."""
        if self._process is None:
            with self._log.open("a") as log:
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                    cwd=self._directory,
                )  # fmt: skip
        self._number += 1
        try:
            result = self._answer([self._number, module, function, arguments])
        except BaseException:  # whatever cut it off; the process is in an unknown state
            self.close(0)
            raise
        if "error" in result:
            raise RuntimeError(f"inside ComfyUI:\n{result['error']}")
        return result["value"]

    def _answer(self, request: list) -> dict:
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith("RESULT "):
                number, result = json.loads(line.removeprefix("RESULT "))
                if number == request[0]:
                    return result
        raise RuntimeError(f"the worker inside ComfyUI stopped:\n{self._log.read_text()[-4000:]}")

    def close(self, patience: float = 30) -> None:
        """End the process, at once if it does not end by itself within ``patience`` seconds."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


@contextmanager
def comfyui_worker(base: Path, *flags: str, host: Host | None = None) -> Iterator[Callable[..., Any]]:
    """``Worker.call`` of a ComfyUI (the newest), whose process ends with the block."""
    worker = Worker(host or find_host(), base, *flags)
    try:
        yield worker.call
    finally:
        worker.close()


class Server:
    """A running ComfyUI with the pack, and what tests ask of it."""

    def __init__(self, url: str, base: Path, log: Path, process: subprocess.Popen) -> None:
        self.url, self.base, self.log, self._process = url, base, log, process

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
                text = answer.read()
                return answer.status, json.loads(text) if text else {}
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def run(
        self,
        prompt: dict,
        until: Callable[[dict], bool] | None = None,
        fails: bool = False,
        timeout: float = 600,
    ) -> tuple[dict, list]:
        """Queue an API prompt and follow it to its end: its history entry and the messages on the way.

        ``until``: stops the run (as the stop button does) at the first message for which it holds. ``fails``: whether a
        node is expected to fail.
        """
        import websocket

        client = uuid.uuid4().hex
        socket_ = websocket.create_connection(f"ws{self.url[4:]}/ws?clientId={client}", timeout=timeout)
        stopped = False
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
                if until is not None and not stopped and until(message):
                    self.post("/interrupt", {})
                    stopped = True
                if message["type"] in ("execution_error", "execution_interrupted") and not stopped and not fails:
                    pytest.fail(f"{message}\n{self.log.read_text()[-3000:]}", pytrace=False)
                if message["type"] == "executing" and data["node"] is None:
                    break
        finally:
            socket_.close()
        return self.get(f"/history/{answer['prompt_id']}")[answer["prompt_id"]], messages

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()


def start_server(host: Host, base: Path) -> Server:
    """A real ComfyUI on a free port with the pack as its only custom node.

    Raises:
        RuntimeError: it does not start; with the end of its log.
    """
    for folder in ("models/diffusers", "custom_nodes", "input", "output", "temp", "user"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    pack = base / "custom_nodes" / PACK
    if not pack.is_symlink():
        pack.symlink_to(ROOT, target_is_directory=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = base / "server.log"
    command = [
        host.python, "main.py", "--cpu", "--listen", "127.0.0.1", "--port", str(port),
        "--base-directory", str(base), "--database-url", f"sqlite:///{base}/user/test.db",
        "--disable-all-custom-nodes", "--whitelist-custom-nodes", PACK, "--disable-api-nodes", "--disable-auto-launch",
        "--preview-method", "latent2rgb", "--dont-print-server",
    ]  # fmt: skip
    with log.open("a") as out:
        process = subprocess.Popen(command, cwd=host.path, stdout=out, stderr=subprocess.STDOUT)
    server = Server(f"http://127.0.0.1:{port}", base, log, process)
    for _ in range(600):
        if process.poll() is not None:
            raise RuntimeError(f"{host} stopped:\n{log.read_text()[-4000:]}")
        try:
            server.get("/system_stats")
            return server
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    server.close()
    raise RuntimeError(f"{host} did not start:\n{log.read_text()[-4000:]}")


def skip_without_model(server: Server, workflow: str) -> None:
    """Skip a test of a workflow whose model the ComfyUI has not, see ``MODELS``."""
    for start, node in MODELS.items():
        if workflow.startswith(start) and not server.get(f"/object_info/{node}"):
            pytest.skip(f"this ComfyUI has no {node}")


def inputs_of(described: dict, chosen: dict | None = None, prefix: str = "", needed: bool = True) -> dict[str, tuple]:
    """A node's inputs: name -> (whether it is required, its description), with those that its menus bring.

    Without ``chosen`` the names are those of the inputs alone; with it, they are as an API prompt has them
    (``menu.input``), and of a menu only what the chosen entry brings.
    """
    inputs = {}
    for kind in ("required", "optional"):
        for name, spec in described.get(kind, {}).items():
            full = f"{prefix}{name}" if chosen is not None else name
            inputs[full] = (kind == "required" and needed, spec)
            if spec[0] != "COMFY_DYNAMICCOMBO_V3":
                continue
            for option in spec[1]["options"]:
                if chosen is None or option["key"] == chosen.get(full):
                    inputs |= inputs_of(option["inputs"], chosen, f"{full}.", inputs[full][0])
    return inputs


def default_of(spec: list) -> Any:
    """The value that an input has in a new node; None for a socket."""
    kind, options = spec[0], spec[1] if len(spec) > 1 else {}
    if kind == "COMFY_DYNAMICCOMBO_V3":
        return options.get("default", options["options"][0]["key"])
    menu = kind if isinstance(kind, list) else options.get("options")
    return options.get("default", menu[0] if menu else None)
