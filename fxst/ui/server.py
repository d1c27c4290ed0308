"""The server of the page: it answers this machine's browser alone, and only with the token in the address.

Other pages in the same browser can send requests to it, too, and by DNS rebinding even under a name of their own. So
every request needs the token in its path, the Host of this server, and, where it changes anything, its Origin.
"""

import contextlib
import secrets
import shutil
import socket
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec
import numpy as np
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fxst import untrusted
from fxst.configs import UiConfig
from fxst.errors import FxstError, OutputError, SettingsError
from fxst.transfer.style_transfer import StyleTransfer, load
from fxst.ui.page import ASSETS, page
from fxst.ui.settings import Wanted
from fxst.ui.tabs import Superseded, Tab, Tabs
from fxst.untrusted import quoted

__all__ = ["LARGEST_UPLOAD_BYTES", "application", "serve"]

LARGEST_UPLOAD_BYTES: Final = 4 << 30
"""Two hours of stereo at 96 kHz and 24 bits; a WAV holds no more."""
_LARGEST_JSON_BYTES: Final = 1 << 20
_LONGEST_NAME: Final = 255
_STOP_SECONDS: Final = 3

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}


def serve(config: UiConfig, ready: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C or SIGTERM; what was uploaded is then removed.

    Args:
        config: The command.
        ready: Called with the page's address when the server listens.

    Raises:
        ModelError: There is no such model, or it is damaged.
        SettingsError: The port is in use, or an effect of the model cannot be rendered here.
        KeyboardInterrupt: The server was ended.
    """
    style = load(config.model)
    for label, effect in zip(style.chain.labels, style.chain.effects, strict=True):
        if not effect.any_thread:
            raise SettingsError(f"fxst ui cannot render {label}, which works in a main thread only: use fxst apply.")
    _warm(style)
    listener = _listen(config.port)
    port = listener.getsockname()[1]
    token = secrets.token_urlsafe(24)
    folder = Path(tempfile.mkdtemp(prefix="fxst-ui-"))
    tabs = Tabs(style, config.model, folder)
    try:
        app = application(tabs, token=token, port=port)
        settings = uvicorn.Config(
            app, log_config=None, access_log=False, lifespan="off", ws="none", server_header=False, proxy_headers=False,
            timeout_graceful_shutdown=_STOP_SECONDS, h11_max_incomplete_event_size=1 << 16,
        )  # fmt: skip
        ready(f"http://127.0.0.1:{port}/{token}/")
        _Server(settings, tabs).run(sockets=[listener])
    finally:
        tabs.close_all()
        listener.close()
        shutil.rmtree(folder, ignore_errors=True)


class _Server(uvicorn.Server):
    """A server that also stops the work of its tabs when it ends."""

    def __init__(self, settings: uvicorn.Config, tabs: Tabs) -> None:
        super().__init__(settings)
        self._tabs = tabs

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._tabs.stop()
        super().handle_exit(sig, frame)


def _warm(style: StyleTransfer) -> None:
    """Load what renders before anybody waits for it."""
    silence = np.zeros((2, 1024), np.float32)
    style.chain.exact(style.chain.defaults(), sample_rate=44_100, channels=2)(silence)
    with contextlib.suppress(ImportError):  # numba is an extra
        import fxst.dsp.follower_loops  # noqa: F401


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()  # so that the browser may come before the server is ready
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise SettingsError(
            f"Port {port} cannot be used ({reason}): choose another with --port, or leave it out."
        ) from error
    return listener


def application(tabs: Tabs, *, token: str, port: int) -> ASGIApp:
    """Return the server's application.

    Args:
        tabs: The tabs of the page.
        token: The first part of every path.
        port: The port that it is reached by.
    """
    answers = _Answers(tabs)
    tab = "/tabs/{tab}"
    app = Starlette(
        routes=[
            Route("/", answers.page),
            *(Route(f"/{name}", answers.asset) for name in ASSETS),
            Route("/tabs", answers.open, methods=["POST"]),
            Route(f"{tab}/close", answers.close, methods=["POST"]),
            Route(f"{tab}/files/{{role}}", answers.upload, methods=["POST"]),
            Route(f"{tab}/remove", answers.remove, methods=["POST"]),
            Route(f"{tab}/choose", answers.choose, methods=["POST"]),
            Route(f"{tab}/render", answers.render, methods=["POST"]),
            Route(f"{tab}/write", answers.write, methods=["POST"]),
            Route(f"{tab}/progress", answers.progress),
            Route(f"{tab}/sounds/{{role}}", answers.sound),
            Route(f"{tab}/figures", answers.figures),
            Route(f"{tab}/charts/{{kind}}", answers.charts),
            Route(f"{tab}/downloads/{{kind}}", answers.download),
            Route(f"{tab}/run", answers.run, methods=["POST"]),
            Route(f"{tab}/run/progress", answers.run_progress),
            Route(f"{tab}/run/stop", answers.stop_run, methods=["POST"]),
        ],
    )
    return _Guard(app, token=token, port=port)


class _Guard:
    """Refuses what does not come from the page itself, and adds headers that let it load nothing from elsewhere."""

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        self._app, self._token = app, token
        self._hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}
        self._origins = {f"http://{host}" for host in self._hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refused = self._refused(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), text.encode()) for name, text in _HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        if refused is not None:
            await refused(scope, receive, send_with_headers)
            return
        path = scope["path"].removeprefix(f"/{self._token}") or "/"
        await self._app({**scope, "path": path, "raw_path": path.encode()}, receive, send_with_headers)

    def _refused(self, scope: Scope) -> Response | None:
        headers: dict[str, list[str]] = {}
        for name, text in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(text.decode("latin-1"))
        hosts = headers.get("host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return PlainTextResponse("This server answers to its own address only.", 421)
        origins = headers.get("origin", [])
        needed = scope["method"] not in ("GET", "HEAD")
        if (needed and not origins) or not set(origins) <= self._origins:
            return PlainTextResponse("This server answers to its own page only.", 403)
        opened = scope["method"] == "GET" and headers.get("sec-fetch-dest", [""])[0] == "document"  # by any link
        if not opened and headers.get("sec-fetch-site", ["none"])[0] not in ("none", "same-origin"):
            return PlainTextResponse("This server answers to its own page only.", 403)
        first = scope["path"].split("/")[1] if "/" in scope["path"] else ""
        if not secrets.compare_digest(first.encode(), self._token.encode()):
            return PlainTextResponse("Open the address that `fxst ui` printed.", 404)
        return None


class _Answers:
    """The answers to all requests."""

    def __init__(self, tabs: Tabs) -> None:
        self._tabs = tabs

    async def page(self, request: Request) -> Response:
        return HTMLResponse(page(self._tabs.model, largest=LARGEST_UPLOAD_BYTES))

    async def asset(self, request: Request) -> Response:
        content, kind = ASSETS[request.url.path.rpartition("/")[2]]
        return Response(content(), media_type=kind)

    async def open(self, request: Request) -> Response:
        return JSONResponse({"tab": await run_in_threadpool(self._tabs.open)})

    async def close(self, request: Request) -> Response:
        await run_in_threadpool(self._tabs.close, request.path_params["tab"])
        return Response(status_code=204)

    async def upload(self, request: Request) -> Response:
        async def answer(tab: Tab) -> Any:
            role = request.path_params["role"]
            if role not in ("input", "reference"):
                raise SettingsError("A file is an input or a reference.")
            name = _file_name(request.query_params.get("name", ""))
            path = tab.new_path(name)
            try:
                await _store(request, path)
                add = tab.set_input if role == "input" else tab.add_reference
                return await run_in_threadpool(add, path, name)
            except Superseded:
                path.unlink(missing_ok=True)
                return {"superseded": True}
            except BaseException:
                path.unlink(missing_ok=True)
                raise

        return await self._answered(request, answer)

    async def remove(self, request: Request) -> Response:
        async def answer(tab: Tab) -> Any:
            await run_in_threadpool(tab.remove_reference, str((await _json(request, dict[str, str])).get("key")))
            return {}

        return await self._answered(request, answer)

    async def choose(self, request: Request) -> Response:
        return await self._answered(request, lambda tab: run_in_threadpool(tab.choose))

    async def render(self, request: Request) -> Response:
        async def answer(tab: Tab) -> Any:
            return await run_in_threadpool(tab.render, await _json(request, Wanted))

        return await self._answered(request, answer)

    async def write(self, request: Request) -> Response:
        async def answer(tab: Tab) -> Any:
            wanted = await _json(request, dict[str, int])
            try:
                return await run_in_threadpool(tab.write, wanted.get("version", -1))
            except Superseded:
                return {"superseded": True}

        return await self._answered(request, answer)

    async def progress(self, request: Request) -> Response:
        async def answer(tab: Tab) -> Any:
            return tab.progress()

        return await self._answered(request, answer)

    async def sound(self, request: Request) -> Response:
        async def answer(tab: Tab) -> Any:
            heard = await run_in_threadpool(tab.heard, request.path_params["role"])  # it may wait for a rendering
            headers = {"x-channels": str(len(heard.samples)), "x-sample-rate": str(heard.sample_rate)}
            return Response(heard.pcm, media_type="application/octet-stream", headers=headers)

        return await self._answered(request, answer)

    async def figures(self, request: Request) -> Response:
        return await self._answered(request, lambda tab: run_in_threadpool(tab.figures))

    async def charts(self, request: Request) -> Response:
        async def answer(tab: Tab) -> Any:
            return {"html": await run_in_threadpool(tab.charts, request.path_params["kind"])}

        return await self._answered(request, answer)

    async def download(self, request: Request) -> Response:
        async def answer(tab: Tab) -> Any:
            path, name = await run_in_threadpool(tab.download, request.path_params["kind"])
            return FileResponse(path, filename=name, media_type="application/octet-stream")

        return await self._answered(request, answer)

    async def run(self, request: Request) -> Response:
        async def answer(tab: Tab) -> Any:
            wanted = await _json(request, _Run)
            call = tab.begin_run
            command = await run_in_threadpool(call, wanted.folder, wanted.output, each=wanted.each, start=wanted.start)
            return {"command": command}

        return await self._answered(request, answer)

    async def run_progress(self, request: Request) -> Response:
        async def answer(tab: Tab) -> Any:
            return tab.run.progress() if tab.run is not None else {"state": "none"}

        return await self._answered(request, answer)

    async def stop_run(self, request: Request) -> Response:
        async def answer(tab: Tab) -> Any:
            if tab.run is not None:
                await run_in_threadpool(tab.run.stop)
            return {}

        return await self._answered(request, answer)

    async def _answered(self, request: Request, answer: Callable[[Tab], Awaitable[Any]]) -> Response:
        """Answer for a tab; an error becomes one sentence."""
        tab: Tab | None = None
        try:
            tab = self._tabs[request.path_params["tab"]]
            found = await answer(tab)
        except _TooLarge as error:
            return JSONResponse({"error": str(error)}, 413, {"connection": "close"})
        except FxstError as error:
            return JSONResponse({"error": str(error) if tab is None else tab.spoken(str(error))}, 422)
        except ClientDisconnect:
            return Response(status_code=400)
        except MemoryError:
            return JSONResponse(
                {"error": "There is too little memory: close other programs, or use shorter files."}, 507
            )
        return found if isinstance(found, Response) else JSONResponse(_plain(found))


class _Run(msgspec.Struct, forbid_unknown_fields=True):
    """A command for a folder, as the page asks for it."""

    folder: str = ""
    output: str = ""
    each: bool = False
    start: bool = False


class _TooLarge(FxstError):  # noqa: N818
    """More was sent than is taken."""


def _file_name(given: str) -> str:
    """Check the name of an upload, which never becomes a path.

    Raises:
        SettingsError: It is not the name of a file.
    """
    if given in ("", ".", "..") or any(letter in given for letter in "/\\\0") or len(given) > _LONGEST_NAME:
        raise SettingsError(f"{quoted(given[:60])} is not the name of a file: rename it.")
    return given


async def _store(request: Request, path: Path) -> None:
    """Store the body of a request in a file.

    Raises:
        OutputError: It cannot be written.
        SettingsError: It is empty.
    """
    too_large = _TooLarge(f"A file may have {LARGEST_UPLOAD_BYTES >> 30} GiB at most: use `fxst apply` for this one.")
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > LARGEST_UPLOAD_BYTES:
        raise too_large
    size = 0
    try:
        if stated.isdigit() and int(stated) > shutil.disk_usage(path.parent).free:
            raise OutputError(
                f"There is too little space in {quoted(path.parent.parent.parent)}: free some, or set TMPDIR."
            )
        with open(path, "xb") as file:
            async for chunk in request.stream():
                size += len(chunk)
                if size > LARGEST_UPLOAD_BYTES:
                    raise too_large
                file.write(chunk)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OutputError(
            f"The upload cannot be stored ({reason}): free space, or set TMPDIR to another folder."
        ) from error
    if not size:
        raise SettingsError("The file is empty: choose another.")


async def _json(request: Request, kind: Any) -> Any:
    """Read the body of a request.

    Raises:
        SettingsError: It is not of that kind.
    """
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > _LARGEST_JSON_BYTES:
            raise _TooLarge("The page sent more than it may: reload it.")
    try:
        return msgspec.convert(untrusted.from_json(bytes(content)), kind)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"The page sent what the server does not understand ({error}): reload it.") from error


def _plain(found: Any) -> Any:
    return msgspec.to_builtins(found)
