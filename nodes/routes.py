"""What the editor asks the server of the pack.

The timeline: how a text reads, a change written into it, the plan under it. Load Long Video: the video that comes with
the pack, which the editor looks for among the input files.

Those of the timeline are POST requests with JSON below ``/long_video_pack/timeline/``. An answer with ``problem`` says
in words why there is nothing else in it.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

from ..glv_core.demo.star import STAR_VIDEO
from ..glv_core.hosts.comfy.editor import Planned, chunk_plan, chunk_preview, made_chunks, window_plan
from ..glv_core.prompts import parse_schedule
from ..glv_core.prompts.editing import Timing, edited
from ..glv_core.prompts.view import view
from ..glv_core.video_models import model_named
from .load_long_video import BUILT_IN

PREFIX = "/long_video_pack/timeline"
VIEWS = ("/view", "/api/view")  #: where the host shows files of its folders
LARGEST_REQUEST = 2_000_000  #: characters


def register() -> None:
    """Add the routes to the running server; without one (as in tests) there is nothing to add them to."""
    server = getattr(getattr(sys.modules.get("server"), "PromptServer", None), "instance", None)
    if server is None:
        return
    from aiohttp import web

    def route(name: str, answer: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
        @server.routes.post(f"{PREFIX}/{name}")
        async def handle(request: web.Request) -> web.Response:
            text = await request.text()
            if len(text) > LARGEST_REQUEST:
                return web.json_response({"problem": "This text is too long for the timeline."}, status=413)
            try:
                asked = json.loads(text)
                return web.json_response(await asyncio.get_running_loop().run_in_executor(None, answer, asked))
            except ValueError as error:
                return web.json_response({"problem": str(error)})
            except (TypeError, LookupError, AttributeError, ArithmeticError, RecursionError, OSError) as error:
                return web.json_response({"problem": f"The timeline cannot ask so: {error!r}."})

    for name, answer in (("read", read), ("change", change), ("plan", plan)):
        route(name, answer)

    @server.routes.get(f"{PREFIX}/chunk")
    async def show(request: web.Request) -> web.StreamResponse:
        try:
            path = chunk_preview(request.query.get("run", ""), request.query.get("file", ""))
        except OSError:
            return web.Response(status=404, text="There is no such run.")
        except ValueError as error:
            return web.Response(status=404, text=str(error))
        return web.FileResponse(path)

    @web.middleware
    async def built_in(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
        if request.path in VIEWS and request.query.get("filename") == BUILT_IN:
            return web.FileResponse(STAR_VIDEO)
        return await handler(request)

    server.app.middlewares.append(built_in)


def timing_of(asked: Mapping[str, Any]) -> Timing:
    """The times of a request: ``num_frames``, ``fps``, and what else ``Timing`` has."""
    return Timing(**asked["timing"])


def read(asked: Mapping[str, Any]) -> dict[str, Any]:
    """How a ``text`` reads, see ``view``."""
    return view(str(asked["text"]), timing_of(asked))


def change(asked: Mapping[str, Any]) -> dict[str, Any]:
    """A ``text`` after a ``change`` with its ``arguments``, and how it reads then."""
    timing = timing_of(asked)
    text = edited(str(asked["text"]), timing, str(asked["change"]), **asked.get("arguments", {}))
    return {"text": text, **view(text, timing)}


def plan(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The windows or chunks of the sampler ``node`` with its ``values`` for a ``text``.

    ``model`` holds the names of the model's files, ``phases`` the values of its Co-Denoise Phase nodes. The answer has
    the ``grid`` of latent frames too.
    """
    schedule = parse_schedule(str(asked["text"]), **vars(timing_of(asked)))
    planned = Planned(schedule, model_named(str(asked.get("model", ""))))
    values = asked.get("values", {})
    answer: dict[str, Any] = {"grid": planned.grid, "family": planned.known.name, "guessed": planned.model is None}
    if asked.get("node") == "StreamingExtend" and {"chunk", "overlap"} <= values.keys():  # not through links
        return answer | chunk_plan(planned, values, made_chunks(str(values.get("run_name", ""))))
    if "window" in values:
        return answer | window_plan(planned, values, asked.get("phases", ()))
    return answer
