"""`animate-server preflight`: whether an image and a driving video go together, without rendering them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from animate_pipelines.errors import AnimateError
from animate_server.cli.console import (
    EXIT_FAILED,
    EXIT_INPUT,
    print_error,
    print_findings,
    print_json,
    print_reads,
    progress_report,
)
from animate_server.cli.options import read_options, takes_fields
from animate_server.cli.outputs import PICTURE_SUFFIXES, check_output


@takes_fields(lambda name, field: field.preflight)
def preflight(
    fields: dict[str, Any],
    output: Annotated[
        Path | None, typer.Option(help="A PNG of both under their skeletons; to replace, with the masks.")
    ] = None,
    bundle: Annotated[str, typer.Option(help="Name or path of the bundle of weights. Also ANIMATE_BUNDLE.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="The whole report as JSON, for machines.")] = False,
) -> None:
    """Look at a pair, and say what would spoil the render and what to do about it.

    Exits with 1 for a bad pair, and with 65 where the bundle does not read such pictures.
    """
    try:
        output = check_output(output, PICTURE_SUFFIXES) if output else None
        report = _check(read_options(fields), output, bundle, as_json=as_json)
    except AnimateError as error:
        raise typer.Exit(print_error(error, as_json=as_json)) from None
    if as_json:
        print_json(report)
    else:
        _print_report(report)
    raise typer.Exit(_exit_code(report))


def _exit_code(report: dict[str, Any]) -> int:
    if report["not_read"]:
        return EXIT_INPUT
    return EXIT_FAILED if any(finding["severity"] == "problem" for finding in report["findings"]) else 0


def _check(fields: dict[str, Any], output: Path | None, bundle: str, *, as_json: bool) -> dict[str, Any]:
    from animate_pipelines.request.params import RenderParams
    from animate_server.settings import load_settings

    params = RenderParams.from_json(fields)
    settings = load_settings(bundle=bundle or None)

    from animate_weights.bundles import find_bundle
    from animate_weights.manifest import read_manifest

    folder = find_bundle(settings.bundle, settings.home)
    manifest = read_manifest(folder)
    print_reads(manifest)

    from animate_pipelines.job.input_files import InputFiles
    from animate_pipelines.job.preflight import preflight as look_at_pair
    from animate_pipelines.loading.readers import load_mask_source, load_readers
    from animate_server.estimate import estimate_render

    with (
        tempfile.TemporaryDirectory(prefix="animate-preflight-") as scratch,
        progress_report("preflight", as_json=as_json) as report,
    ):
        sheet = output or Path(scratch) / "overlay.png"
        found = look_at_pair(
            load_readers(folder),
            manifest,
            params,
            InputFiles.of(params),
            sheet,
            workspace=Path(scratch) / "work",
            masks=load_mask_source(folder) if params.mode == "replace" else None,
            report=report,
            limits=settings.media_limits,
        )
    return found | {"estimate": estimate_render(found["plan"], manifest.name, _history(settings.database))}


def _history(database: Path) -> list[dict[str, Any]]:
    """Results of the server of this ANIMATE_HOME; none where there never was one."""
    if not database.is_file():
        return []
    from animate_server.database import open_database
    from animate_server.store import Store

    engine = open_database(database)
    try:
        return list(Store(engine).recent_results())
    finally:
        engine.dispose()


def _print_report(report: dict[str, Any]) -> None:
    print(f"score {report['score']} of 100" if report["judged"] else f"not judged: {report['note']}")
    for warning in report["warnings"]:
        print(f"note: {warning}")
    print_findings(report)
    for who in report.get("people", ()):
        followed = ", followed" if who["number"] == report["following"] else ""
        print(f"person {who['number']}: frames {who['first_frame']} to {who['last_frame']}{followed}")
    masks = report.get("masks")
    if masks and masks["frames"]:
        shares = [frame["regenerated"] for frame in masks["frames"]]
        print(f"masks from {masks['source']}: {min(shares):.0%} to {max(shares):.0%} of the picture is regenerated")
    estimate = report["estimate"]
    if not estimate["jobs"]:
        print("estimate: no history of renders of this size on this installation")
    else:
        memory = estimate["peak_memory_bytes"] / 1024**3
        print(f"estimate from {estimate['jobs']} jobs: {estimate['seconds']:.0f} s, {memory:.1f} GiB")
