"""`animate-server login`: remember a server and its key."""

from __future__ import annotations

import sys
from typing import Annotated

import typer


def login(
    server: Annotated[str | None, typer.Option(help="Base URL. [default: http://127.0.0.1:8000]")] = None,
    key: Annotated[str | None, typer.Option(help="API key; asked for when not given.")] = None,
) -> None:
    """Store server and key for `run`, in a file that only you can read, once the server has taken the key."""
    from animate_server.cli.client import ServerClient, ServerFault
    from animate_server.cli.credentials import Credentials, find_credentials, store_credentials

    found = find_credentials(server, key)
    if not key:
        key = typer.prompt("API key (empty for a server without keys)", default="", hide_input=True, err=True)
    credentials = Credentials(server=found.server, key=key or "")
    try:
        with ServerClient(credentials) as client:
            client.check()
    except ServerFault as fault:
        print(f"error: {fault}", file=sys.stderr)
        raise typer.Exit(fault.code) from None
    print(f"stored in {store_credentials(credentials)}")
