"""What the commands share to talk to people and machines: errors with exit codes, and progress in three forms."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from animate_pipelines.errors import AnimateError
from animate_pipelines.progress.progress import OnProgress, Progress
from animate_pipelines.request.fields import fields_of
from animate_pipelines.request.params import RenderParams
from animate_server.cli.options import flag_of
from animate_weights.manifest import Manifest, note_reads

EXIT_FAILED = 1
EXIT_USAGE = 64
EXIT_INPUT = 65
EXIT_SERVER = 69
EXIT_RETRY = 75
EXIT_AUTH = 77
EXIT_CODES = (
    f"Exit codes: 0 done; {EXIT_FAILED} failed or canceled; {EXIT_USAGE} options that are not understood; {EXIT_INPUT} "
    f"inputs or values that cannot be used; {EXIT_SERVER} the fault of this machine, the server or the weights; "
    f"{EXIT_RETRY} try again later; {EXIT_AUTH} no valid key."
)

PLAIN_LINE_S = 10.0
_STAGES = {
    "check": "checking the inputs",
    "preprocess": "finding the person",
    "encode": "encoding",
    "render": "rendering",
    "finish": "writing the video",
}
_CODES = {
    "not_authorized": EXIT_AUTH,
    "queue_full": EXIT_RETRY,
    "too_many_requests": EXIT_RETRY,
    "canceled": EXIT_FAILED,
}


def exit_code(error: AnimateError) -> int:
    """Whose fault it is, as an exit code of sysexits.h."""
    return _CODES.get(error.code, EXIT_INPUT if error.fault == "request" else EXIT_SERVER)


def describe(error: dict[str, Any]) -> str:
    """Return the message of an error's JSON on one line, with fields of a request called as the options are."""
    text = " ".join(str(error["message"]).split())
    options = {name: flag_of(name, field) for name, field in fields_of(RenderParams).items()}
    for name, option in options.items():
        if name == error.get("field") or "_" in name:
            text = re.sub(rf"(?<![\w.-]){name}(?![\w.])", option, text)
    wrong = options.get(str(error.get("field")))
    return text if wrong is None or wrong in text else f"{wrong}: {text}"


def print_error(error: AnimateError, *, as_json: bool = False) -> int:
    """Print one line, to stderr for people or to stdout as JSON for machines, and return the exit code."""
    if as_json:
        print_json({"status": "failed", "error": error.to_json()})
    else:
        print(f"error: {describe(error.to_json())}", file=sys.stderr)
    return exit_code(error)


def print_findings(report: dict[str, Any]) -> None:
    """Print the findings of a preflight report, each with its fix; what is not judged on one line."""
    findings = report.get("findings", [])
    for finding in findings:
        if finding["severity"] != "not_judged":
            print(f"{finding['severity']}: {finding['message']}\n    {finding['fix']}")
    unjudged = [finding for finding in findings if finding["severity"] == "not_judged"]
    for finding in unjudged:
        print(f"not judged: {finding['message']}")
    if unjudged:
        print(f"    {unjudged[0]['fix']}")


def print_reads(manifest: Manifest) -> None:
    """Say on stderr, before any work, that a bundle does not read people."""
    note = note_reads(manifest.name, manifest.reads)
    if note:
        print(f"note: {note}", file=sys.stderr)


def print_json(value: dict[str, Any]) -> None:
    """Print one line. A file name's bytes that are no UTF-8 become escapes that JSON has."""
    print(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace").decode(), flush=True)


@contextmanager
def progress_report(title: str, *, as_json: bool = False) -> Iterator[OnProgress]:
    """Yield an `OnProgress` that shows progress on stderr: a bar in a terminal, now and then a line in a pipe.

    as_json: print every report as a line of JSON on stdout instead, `{"status": "running", "progress": {...}}`.
    """
    if as_json:
        yield lambda progress: print_json({"status": "running", "progress": progress.to_json()})
    elif sys.stderr.isatty():
        with _bar(title) as report:
            yield report
    else:
        yield _PlainReport(title)


class _PlainReport:
    """A line when the stage or segment changes, and every ten seconds."""

    def __init__(self, title: str) -> None:
        self._title = title
        self._shown: tuple[str, int] | None = None
        self._shown_at = 0.0

    def __call__(self, progress: Progress) -> None:
        place = (progress.stage, progress.segment)
        if place == self._shown and time.monotonic() - self._shown_at < PLAIN_LINE_S:
            return
        self._shown, self._shown_at = place, time.monotonic()
        left = "" if progress.seconds_left is None else f", {_duration(progress.seconds_left)} left"
        print(f"{self._title}: {progress.fraction:.0%} {_place(progress)}{left}", file=sys.stderr, flush=True)


@contextmanager
def _bar(title: str) -> Iterator[OnProgress]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[place]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=1.0, place="waiting", left="")

        def report(progress: Progress) -> None:
            left = "" if progress.seconds_left is None else f"{_duration(progress.seconds_left)} left"
            bar.update(task, completed=progress.fraction, place=_place(progress), left=left)

        yield report


def _place(progress: Progress) -> str:
    text = _STAGES[progress.stage]
    if progress.num_segments:
        text += f", segment {min(progress.segment + 1, progress.num_segments)}/{progress.num_segments}"
    return text + (f", step {progress.step}/{progress.num_steps}" if progress.num_steps else "")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
