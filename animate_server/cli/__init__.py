"""The command line. One file a command; what a command needs is imported when it runs, so that `--help` is quick."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from animate_pipelines.errors import AnimateError
from animate_server import __version__
from animate_server.cli.console import EXIT_CODES, EXIT_USAGE, print_error
from animate_server.cli.demo import demo
from animate_server.cli.doctor import doctor
from animate_server.cli.login import login
from animate_server.cli.preflight import preflight
from animate_server.cli.render import render
from animate_server.cli.run import run
from animate_server.cli.serve import serve
from animate_server.cli.settings import settings
from animate_server.cli.weights import weights
from animate_server.cli.worker import worker

_TYPER_USAGE = 2  # what typer exits with for arguments it does not understand

app = typer.Typer(
    name="animate-server",
    help="One reference image and one driving video in, one animated MP4 out.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"animate-server {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""


for command in (demo, render, preflight, serve, worker, run, login, doctor, settings):
    app.command()(command)
app.add_typer(weights)


def main() -> None:
    """Run a command. An error of ours becomes one line and an exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="surrogateescape")  # file names come out with the bytes they have
    try:
        app()
    except SystemExit as exit_:
        sys.exit(EXIT_USAGE if exit_.code == _TYPER_USAGE else exit_.code)
    except AnimateError as error:
        sys.exit(print_error(error))
