"""`animate-server worker`: render jobs on one device. `serve` starts these by itself."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import Annotated

import typer

from animate_server.cli.console import EXIT_RETRY


def worker(
    device: Annotated[str, typer.Option(help="cpu, cuda:0, ... [default: the first GPU, or the CPU]")] = "auto",
    bundle: Annotated[str | None, typer.Option(help="Name or path of the bundle of weights.")] = None,
    parent: Annotated[int | None, typer.Option(hidden=True, help="End when this process does.")] = None,
) -> None:
    """Render jobs from the database in ANIMATE_HOME until told to stop. SIGTERM finishes the running segment."""
    from animate_server.supervisor import die_with_parent, find_devices, name_of

    if parent is not None:
        die_with_parent(parent)

    from animate_server.backend import open_backend
    from animate_server.logs import configure_logging
    from animate_server.renderer import load_renderer
    from animate_server.settings import load_settings
    from animate_server.worker import Worker

    settings = load_settings(bundle=bundle)
    configure_logging(settings.log_level)
    device = find_devices([device])[0]
    with open_backend(settings) as backend:
        made = Worker(
            backend,
            name=name_of(device, os.getpid()),
            device=device,
            load=partial(load_renderer, settings, device),
            on_stuck=lambda: os._exit(EXIT_RETRY),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: made.drain())
        made.run()
