"""`animate-server serve`: the API and one worker a device."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="[default: 8000]")] = None,
    bundle: Annotated[str | None, typer.Option(help="Name or path of the bundle of weights.")] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, or cuda:0,cuda:1,... [default: every GPU, or the CPU]")
    ] = None,
) -> None:
    """Serve the API. Settings are ANIMATE_* variables or the TOML file that ANIMATE_CONFIG names; options win."""
    from animate_server.logs import configure_logging
    from animate_server.serving import run_server
    from animate_server.settings import load_settings

    settings = load_settings(host=host, port=port, bundle=bundle, devices=device)
    configure_logging(settings.log_level)
    run_server(settings)
