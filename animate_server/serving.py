"""The server process: the API in the main thread, a worker process for each device beside it."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from functools import partial
from types import FrameType

import uvicorn

from animate_pipelines.errors import InvalidField
from animate_server.app import create_app
from animate_server.backend import open_backend
from animate_server.settings import Settings, check_exposure
from animate_server.supervisor import Supervisor, find_devices, spawn_worker

log = logging.getLogger(__name__)

CLOSE_S = 5  # how long open connections may take once we are told to stop


class _Server(uvicorn.Server):
    """Says where it is once it answers, and tells others at the moment it is told to stop.

    uvicorn's own raises the signal again when it has ended.
    """

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None], address: str) -> None:
        super().__init__(config)
        self._on_stop = on_stop
        self._address = address

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        print(f"animate-server answers at {self._address}; its interfaces: {self._address}/docs", flush=True)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True
        self._on_stop()


def run_server(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; then the API closes, and workers finish their segments and give jobs back.

    A second signal kills the workers.
    Raises `InvalidField` for settings that would serve strangers without keys.
    """
    check_exposure(settings)
    with open_backend(settings) as backend:
        app = create_app(backend)
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=CLOSE_S,
            ws_max_size=settings.max_json_bytes,
        )
        listening = bind(settings.host, settings.port)
        shared = {"ANIMATE_BUNDLE": settings.bundle, "ANIMATE_HOME": str(settings.home)}
        crew = Supervisor(
            backend=backend,
            devices=find_devices(settings.devices),
            spawn=partial(spawn_worker, shared),
            drain_s=settings.drain_s,
        )

        def stop() -> None:
            app.state.closing.set()
            crew.stop()

        with crew:
            _Server(config, stop, address_of(listening)).run(sockets=[listening])


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address. Raises `InvalidField` where that is not to be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"port {port} of {host} is taken by another process: stop it, or choose another with --port"
        else:
            message = f"port {port} of {host} cannot be listened on: {error.strerror}"
        raise InvalidField(message, field="port", value=port) from None


def address_of(listening: socket.socket) -> str:
    """Return the address to open in a browser on this machine."""
    host, port = listening.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
