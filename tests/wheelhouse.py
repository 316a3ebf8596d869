"""A folder of wheels made of what is installed here, so that an installation can be tried without an index.

A wheel made so holds the installed files and is for this machine alone, whatever its name says.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, PathDistribution, distribution
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# Written by the installer, not part of the wheel.
_INSTALLERS_OWN = {"INSTALLER", "REQUESTED", "RECORD", "direct_url.json"}


def required(wheel: Path, extra: str) -> list[Distribution]:
    """The installed distributions that a wheel needs with that extra. `PackageNotFoundError` names one that is not."""
    found: dict[str, Distribution] = {}
    asked: set[tuple[str, str]] = set()
    waiting: list[tuple[Distribution, str]] = [(_packed(wheel), extra)]
    while waiting:
        parent, wanted = waiting.pop()
        for line in parent.requires or []:
            requirement = Requirement(line)
            if requirement.marker and not requirement.marker.evaluate({"extra": wanted}):
                continue
            child = canonicalize_name(requirement.name)
            found[child] = distribution(child)
            new = {(child, option) for option in ("", *requirement.extras)} - asked
            asked |= new
            waiting += [(found[name], option) for name, option in new]
    return list(found.values())


def _packed(wheel: Path) -> Distribution:
    root = zipfile.Path(wheel)
    (information,) = (entry for entry in root.iterdir() if entry.name.endswith(".dist-info"))
    return PathDistribution(information)  # type: ignore[arg-type]


def write_wheel(installed: Distribution, folder: Path) -> Path:
    """The distribution's files as a wheel, not compressed."""
    name = re.sub(r"[-_.]+", "_", installed.name)
    wheel = folder / f"{name}-{installed.version}-py3-none-any.whl"  # it fits: it is installed here
    with zipfile.ZipFile(wheel, "w") as archive:
        names = []
        for path, source in _files(installed):
            archive.write(source, path)
            names.append(path)
        (information,) = {top for path in names if (top := path.split("/")[0]).endswith(".dist-info")}
        record = f"{information}/RECORD"
        archive.writestr(record, "".join(f"{path},,\n" for path in [*names, record]))
    return wheel


def _files(installed: Distribution) -> Iterator[tuple[str, Path]]:
    """Without what lies outside site-packages: commands, which the installer makes anew, and manual pages."""
    for path in installed.files or []:
        place = PurePosixPath(path)
        is_ours = place.parts[0].endswith(".dist-info") and place.name in _INSTALLERS_OWN
        source = Path(str(path.locate()))
        if ".." not in place.parts and place.suffix != ".pyc" and not is_ours and source.is_file():
            yield place.as_posix(), source
