"""Where a command writes to, looked at before any work is done."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import get_args

from animate_pipelines.errors import InvalidField
from animate_pipelines.request.choices import OutputFormat

VIDEO_SUFFIXES = tuple(f".{name}" for name in get_args(OutputFormat))
PICTURE_SUFFIXES = (".png",)


def check_output(output: Path, suffixes: tuple[str, ...]) -> Path:
    """Return the absolute path of an output that can be written; its folder is made.

    Raises `InvalidField` for a suffix that is none of `suffixes`, a folder, and a place where nothing can be written.
    """
    if output.suffix.lower() not in suffixes:
        allowed = " or ".join(suffixes)
        raise InvalidField(
            f"--output must end in {allowed}, not in {output.suffix or 'no suffix'}: {output}",
            field="output",
            value=str(output),
            limit=allowed,
        )
    if output.is_dir():
        raise InvalidField(f"--output is a folder: {output}", field="output", value=str(output))
    check_folder(output.absolute().parent, option="--output")
    return output.absolute()


def check_folder(folder: Path, *, option: str) -> None:
    """Make a folder, and raise `InvalidField` where it cannot be made or written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        message = f"{option}: {folder} cannot be written to: {error.strerror}"
        raise InvalidField(message, field=option.lstrip("-"), value=str(folder)) from None


def format_of(output: Path, given: str | None) -> OutputFormat:
    """Return the format that the suffix of the output stands for.

    given: the value of `--output-format`; it must say the same.
    Raises `InvalidField` where it says another.
    """
    by_suffix: OutputFormat = next(name for name in get_args(OutputFormat) if output.suffix.lower() == f".{name}")
    if given not in (None, by_suffix) and given in get_args(OutputFormat):
        message = f"{{field}} is {given}, and --output ends in {output.suffix}: leave one of them out"
        raise InvalidField(message, field="output_format", value=given, limit=by_suffix)
    return by_suffix
