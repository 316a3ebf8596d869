"""`animate-server weights`: what a bundle needs, and how it comes here, is checked and is made smaller."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from animate_pipelines.errors import AnimateError, InvalidField
from animate_server.cli.byte_progress import byte_progress, size
from animate_server.cli.console import EXIT_FAILED, print_error, print_json

if TYPE_CHECKING:
    from animate_server.cli.hub import Hub, HubFile
    from animate_weights.catalogue import Item

Result = TypeVar("Result")
_HUB = "https://huggingface.co"

weights = typer.Typer(name="weights", help="Bundles of weights: list, fetch, import, bundle, verify, quantize.")
_Json = Annotated[bool, typer.Option("--json", help="Lines of JSON on stdout, for machines.")]
_Bundle = Annotated[str, typer.Argument(help="Name or path of a bundle.")]


class Form(StrEnum):
    ORIGINAL = "original"
    DIFFUSERS = "diffusers"


@weights.command("list")
def list_(
    bundle: Annotated[str, typer.Argument(help="Name or path of a bundle, to see what of it is there.")] = "",
    form: Annotated[Form, typer.Option(help="Which of the two published layouts.")] = Form.ORIGINAL,
    as_json: _Json = False,
) -> None:
    """List what a bundle needs: files, size, licence, purpose, and what works without it."""
    from animate_weights.catalogue import CATALOGUE
    from animate_weights.layouts import find_layout

    folder = _guarded(lambda: _find(bundle), as_json) if bundle else None
    layout = (find_layout(folder) if folder else None) or form.value
    rows = [_row(item, folder) for item in CATALOGUE[layout]]
    if as_json:
        print_json({"layout": layout, "items": rows})
        return
    for row in rows:
        there = "" if folder is None else ("there    " if row["there"] else "missing  ")
        need = "needed" if row["needed"] else f"without it {row['without']}"
        print(f"{there}{row['name']:16} {size(row['size_bytes']):>9}  {row['purpose']}; {need}")
        indent = " " * (len(there) + 16 + 1 + 9 + 2)
        print(f"{indent}{row['repository']} {' '.join(row['patterns'])}")
        print(f"{indent}licence {row['licence']}, unverified: {row['licence_page']}")
    print(f"together {size(sum(row['size_bytes'] for row in rows))}")


@weights.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Name of the bundle under ANIMATE_HOME, or a path.")],
    form: Annotated[Form, typer.Option(help="Which of the two published layouts.")] = Form.ORIGINAL,
    endpoint: Annotated[str, typer.Option(envvar="ANIMATE_HUB", help="Base URL of the hub or a mirror of it.")] = _HUB,
    token: Annotated[str | None, typer.Option(envvar="ANIMATE_HUB_TOKEN", help="Sent to the hub alone.")] = None,
    needed_only: Annotated[bool, typer.Option(help="Leave out what rendering works without.")] = False,
    without: Annotated[
        list[str] | None, typer.Option(help="Leave out a part, by its name in `weights list`; may be given again.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Fetch the published files on a connected machine. Run again, it goes on where it stopped."""
    from animate_server.cli.hub import Hub
    from animate_weights.catalogue import CATALOGUE

    def work() -> Path:
        items = _leave_out(CATALOGUE[form.value], without or [], needed_only=needed_only)
        folder = _place(name)
        with Hub(endpoint, token) as hub:
            _fetch_items(hub, items, folder, as_json=as_json)
        return folder

    _print_folder(_guarded(work, as_json), as_json)


@weights.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="A bundle: a folder, or a tar written by `weights bundle`.")],
    name: Annotated[str, typer.Argument(help="Name of the new bundle under ANIMATE_HOME, or a path.")],
    as_json: _Json = False,
) -> None:
    """Bring in a bundle and check every file's SHA-256."""
    from animate_weights.transport import import_bundle

    def work() -> Path:
        folder, total = _place(name), _size(source)
        with byte_progress("import", 2 * total, as_json=as_json) as on_bytes:
            import_bundle(source, folder, on_bytes)
        return folder

    _print_folder(_guarded(work, as_json), as_json)


@weights.command("bundle")
def bundle_(
    bundle: _Bundle,
    destination: Annotated[Path, typer.Argument(help="The tar to write.")],
    as_json: _Json = False,
) -> None:
    """Write a bundle into one tar, with the SHA-256 of every file, for a machine without a network."""
    from animate_weights.transport import pack_bundle

    def work() -> Path:
        folder = _find(bundle)
        with byte_progress("bundle", 2 * _size(folder), as_json=as_json) as on_bytes:
            pack_bundle(folder, destination.absolute(), on_bytes)
        return destination

    _print_folder(_guarded(work, as_json), as_json)


@weights.command()
def verify(
    bundle: _Bundle,
    hashes: Annotated[bool, typer.Option(help="Read every byte and compare hashes.")] = True,
    as_json: _Json = False,
) -> None:
    """Check hashes, tensor names, shapes and types, and say which modes work. Exits with 1 when something is bad."""
    from animate_pipelines.families.verify import Verdict, verify_bundle

    def work() -> list[Verdict]:
        folder = _find(bundle)
        with byte_progress("verify", _size(folder), as_json=as_json) as on_bytes:
            return verify_bundle(folder, on_bytes, hashes=hashes)

    verdicts = _guarded(work, as_json)
    good = all(verdict.state != "bad" for verdict in verdicts)
    if as_json:
        rows = [{"subject": v.subject, "state": v.state, "detail": v.detail} for v in verdicts]
        print_json({"status": "succeeded" if good else "failed", "verdicts": rows})
    else:
        for verdict in verdicts:
            print(f"{verdict.state:4}  {verdict.subject:16}  {verdict.detail}")
    raise typer.Exit(0 if good else EXIT_FAILED)


@weights.command()
def quantize(
    bundle: _Bundle,
    name: Annotated[str, typer.Argument(help="Name of the new bundle under ANIMATE_HOME, or a path.")],
    as_json: _Json = False,
) -> None:
    """Write a bundle with the transformer's matrices in fp8 (e4m3, one scale a row); the rest is linked."""
    from animate_weights.layouts import component_files
    from animate_weights.manifest import read_manifest
    from animate_weights.quantize import quantize_bundle

    def work() -> Path:
        folder, destination = _find(bundle), _place(name)
        files = component_files(folder, "transformer", read_manifest(folder).transformer).files
        total = sum(path.stat().st_size for path in files)
        with byte_progress("quantize", total, as_json=as_json) as on_bytes:
            quantize_bundle(folder, destination, on_bytes)
        return destination

    _print_folder(_guarded(work, as_json), as_json)


def _leave_out(items: Sequence[Item], without: Sequence[str], *, needed_only: bool) -> list[Item]:
    names = [item.name for item in items]
    for name in without:
        if name not in names:
            raise InvalidField("{field} names no part of a bundle", field="without", value=name, limit=names)
    return [item for item in items if item.name not in without and (item.needed or not needed_only)]


def _fetch_items(hub: Hub, items: Sequence[Item], folder: Path, *, as_json: bool) -> None:
    """Fetch all files of the items, and write hashes, and a manifest where there is a few-step LoRA."""
    import json

    from animate_weights.hashes import hash_file, write_hashes
    from animate_weights.manifest import MANIFEST_NAME, read_manifest

    wanted: list[tuple[HubFile, Path]] = []
    for item in items:
        found = hub.list(item.repository, item.patterns)
        if not found and item.needed:
            raise InvalidField(f"{item.repository} has no {item.patterns[0]}", field="endpoint", value=item.repository)
        wanted += [(file, Path(item.folder) / file.path) for file in found]
    hashes: dict[str, str] = {}
    with byte_progress("fetch", sum(file.size_bytes for file, _ in wanted), as_json=as_json) as on_bytes:
        for file, path in wanted:
            hashes[path.as_posix()] = hub.fetch(file, folder / path, on_bytes)
    turbo = [path for path in hashes if path.startswith("loras/")]
    if turbo and not (folder / MANIFEST_NAME).is_file():
        manifest = replace(read_manifest(folder), turbo_lora=turbo[0], turbo_steps=4)
        (folder / MANIFEST_NAME).write_text(json.dumps(manifest.to_json(), indent=2) + "\n")
    if (folder / MANIFEST_NAME).is_file():
        hashes[MANIFEST_NAME] = hash_file(folder / MANIFEST_NAME, lambda num_bytes: None)
    write_hashes(folder, hashes)


def _row(item: Item, folder: Path | None) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": item.name,
        "repository": item.repository,
        "patterns": list(item.patterns),
        "folder": item.folder,
        "size_bytes": item.size_bytes,
        "licence": item.licence,
        "licence_page": item.licence_page,
        "licence_verified": False,
        "purpose": item.purpose,
        "needed": item.needed,
        "without": item.without,
    }
    return row if folder is None else row | {"there": bool(item.find(folder))}


def _find(bundle: str) -> Path:
    from animate_server.settings import load_settings
    from animate_weights.bundles import find_bundle

    return find_bundle(bundle, load_settings().home)


def _place(name: str) -> Path:
    """Return where a new bundle of that name goes: the path when it looks like one, else under the home folder."""
    from animate_server.settings import load_settings

    path = Path(name).expanduser()
    if path.is_absolute() or len(path.parts) > 1:
        return path.absolute()
    return load_settings().home / "bundles" / name


def _size(path: Path) -> int:
    if not path.exists():
        raise InvalidField(f"there is no {path}", field="source", value=str(path))
    if path.is_file():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _guarded(work: Callable[[], Result], as_json: bool) -> Result:
    """Return the result of `work`; an error of ours becomes one line and an exit code."""
    try:
        return work()
    except AnimateError as error:
        raise typer.Exit(print_error(error, as_json=as_json)) from None


def _print_folder(path: Path, as_json: bool) -> None:
    if as_json:
        print_json({"status": "succeeded", "output": str(path)})
    else:
        print(path)
