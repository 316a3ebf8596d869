"""`animate-server run`: render on a running server."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from animate_pipelines.errors import InvalidField
from animate_pipelines.progress.progress import OnProgress, Progress
from animate_pipelines.request.choices import Task
from animate_pipelines.request.params import INPUTS
from animate_server.cli.console import EXIT_FAILED, describe, print_error, print_json, progress_report
from animate_server.cli.options import read_options, takes_fields
from animate_server.cli.outputs import check_folder

if TYPE_CHECKING:
    from animate_server.cli.client import ServerClient

_REMOTE = ("http://", "https://", "data:", "upload:")


@takes_fields(lambda name, field: name != "mode", needs_inputs=False)
def run(
    task: Annotated[Task, typer.Argument(metavar="TASK", help=f"What to do: {', '.join(get_args(Task))}.")],
    fields: dict[str, Any],
    input_: Annotated[
        str,
        typer.Option(
            "--input",
            help="The fields of POST /v1/jobs: JSON, or @FILE, or - for stdin. Options win over it. Inputs may be "
            "local paths.",
        ),
    ] = "{}",
    output_dir: Annotated[
        Path, typer.Option(help="Where the video goes, as JOB_ID.mp4; more of them as JOB_ID-1.mp4, ...")
    ] = Path(),
    server: Annotated[str | None, typer.Option(help="Base URL; also ANIMATE_SERVER, or what `login` stored.")] = None,
    key: Annotated[str | None, typer.Option(help="API key; also ANIMATE_API_KEY, or what `login` stored.")] = None,
    poll_s: Annotated[float, typer.Option(min=0.05, max=60, help="Seconds between two looks at the job.")] = 2.0,
    as_json: Annotated[bool, typer.Option("--json", help="Lines of JSON on stdout, for machines.")] = False,
) -> None:
    """Submit a job, wait for it and fetch the video. Ctrl-C cancels the job."""
    from animate_server.cli.client import ServerClient, ServerFault
    from animate_server.cli.credentials import find_credentials

    try:
        wanted = _read_fields(input_) | read_options(fields, local_files=False) | {"mode": task}
        check_folder(output_dir, option="--output-dir")
        with ServerClient(find_credentials(server, key)) as client:
            code = _render(client, _upload_files(client, wanted), output_dir, poll_s, as_json)
    except InvalidField as error:
        code = print_error(error, as_json=as_json)
    except ServerFault as fault:
        code = fault.code
        if as_json:
            print_json({"status": "failed", "error": fault.error})
        else:
            print(f"error: {fault}", file=sys.stderr)
    raise typer.Exit(code)


def _read_fields(text: str) -> dict[str, Any]:
    try:
        if text == "-":
            text = sys.stdin.read()
        elif text.startswith("@"):
            text = Path(text[1:]).read_text()
        fields = json.loads(text)
    except (OSError, ValueError) as error:
        raise InvalidField(f"--input cannot be read: {error}", field="input") from None
    if not isinstance(fields, dict):
        raise InvalidField("--input must be a JSON object", field="input", value=type(fields).__name__)
    return fields


def _upload_files(client: ServerClient, fields: dict[str, Any]) -> dict[str, Any]:
    """Return `fields` with local files uploaded. All of them are looked for before the first one is sent."""
    local: dict[str, Path] = {}
    for name in INPUTS:
        value = fields.get(name)
        if isinstance(value, str) and not value.startswith(_REMOTE):
            local[name] = Path(value).expanduser()
            if not local[name].is_file():
                raise InvalidField(f"{{field}}: there is no file {value}", field=name, value=value)
    return fields | {name: client.upload(path) for name, path in local.items()}


def _render(client: ServerClient, fields: dict[str, Any], output_dir: Path, poll_s: float, as_json: bool) -> int:
    job = client.submit(fields)
    try:
        with progress_report(f"job {job['id']}", as_json=as_json) as report:
            job = client.wait(job, poll_s, lambda seen: _show(seen, report))
    except KeyboardInterrupt:
        client.cancel(job["id"])
        print(f"job {job['id']} is canceled", file=sys.stderr)
        return EXIT_FAILED
    return _conclude(client, job, output_dir, as_json)


def _show(job: dict[str, Any], report: OnProgress) -> None:
    if job["progress"] is not None:
        report(Progress(**job["progress"]))


def _conclude(client: ServerClient, job: dict[str, Any], output_dir: Path, as_json: bool) -> int:
    if job["artefact"] is None:
        error = job["error"] or {"code": job["status"], "message": f"the job is {job['status']}"}
        if as_json:
            print_json({"status": job["status"], "error": error, "job": job})
        else:
            print(f"error: job {job['id']} {job['status']}: {describe(error)}", file=sys.stderr)
        return EXIT_FAILED
    paths = [_download(client, job, number, output_dir) for number in range(len(job["artefacts"]))]
    if as_json:
        print_json({"status": job["status"], "output": paths[0], "outputs": paths, "job": job})
    else:
        print(*paths, sep="\n")
    return 0


def _download(client: ServerClient, job: dict[str, Any], number: int, output_dir: Path) -> str:
    url = job["artefacts"][number]["url"]
    name = job["id"] if number == 0 else f"{job['id']}-{number}"
    return str(client.download(url, output_dir / f"{name}.{url.rpartition('.')[2]}"))
