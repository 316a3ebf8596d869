"""The repository keeps what its layout promises: package names, pins, the container's recipe."""

from __future__ import annotations

import re
import tomllib
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]
SOURCE_ROOTS = ("pipelines", "weights", "kernels", "benchmarks")
TRAINING = "benchmarks/animate_benchmarks/training"


@pytest.fixture(scope="module")
def dockerfile() -> list[str]:
    """Instructions, continued lines joined."""
    text = (ROOT / "Dockerfile.cuda").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of our wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def constraints() -> dict[str, str]:
    pins = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {_plain(name): version for name, version in (pin.split("==") for pin in pins)}


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_source_root_is_a_package() -> None:
    # a package called `kernels` or `weights` would hide others' of that name
    assert [root for root in SOURCE_ROOTS if (ROOT / root / "__init__.py").exists()] == []


def test_gitignore_does_not_hide_a_package() -> None:
    # hatchling leaves out of the wheel what git ignores
    ignored = {line.strip("/ ") for line in (ROOT / ".gitignore").read_text().splitlines()}
    assert ignored.isdisjoint({*SOURCE_ROOTS, "animate_server"})


def test_the_wheel_holds_the_product_and_no_training(wheel: dict[str, bytes]) -> None:
    sources = {
        path.relative_to(ROOT / root).as_posix() for root in SOURCE_ROOTS for path in (ROOT / root).rglob("*.py")
    }
    packaged = {name for name in wheel if name.endswith(".py") and not name.startswith("animate_server/")}
    training = {path for path in sources if path.startswith(f"{TRAINING.partition('/')[2]}/")}
    assert len(training) > 10
    assert packaged == sources - training
    assert [name for name in packaged if b".backward(" in wheel[name]] == []
    assert {"animate_server/cli/__init__.py", "animate_weights/puppet/bundle/manifest.json"} < wheel.keys()


def test_the_container_leaves_the_training_out() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()  # the last line that fits a path decides
    assert lines.index("!benchmarks") < lines.index(TRAINING)
    assert (ROOT / TRAINING).is_dir()


def test_every_requirement_is_pinned(constraints: dict[str, str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = project["dependencies"] + [r for extra in project["optional-dependencies"].values() for r in extra]
    names = {_plain(re.split(r"[<>=!~\[; ]", requirement)[0]) for requirement in requirements}
    assert sorted(names - constraints.keys()) == []


def test_copied_files_exist(dockerfile: list[str]) -> None:
    copies = [line.split()[1:-1] for line in dockerfile if line.startswith("COPY ") and "--from=" not in line]
    sources = [source for copy in copies for source in copy]
    assert {"pyproject.toml", "constraints.txt", "animate_server", *SOURCE_ROOTS} <= set(sources)
    assert [source for source in sources if not (ROOT / source).exists()] == []
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert set(sources) <= allowed


def test_container_pins_agree_with_the_constraints(dockerfile: list[str], constraints: dict[str, str]) -> None:
    pins = re.findall(r"([A-Za-z0-9_.-]+)==([0-9][\w.]*)", "\n".join(dockerfile))
    assert {"torch", "xformers", "onnxruntime-gpu"} <= {name for name, _ in pins}
    assert dict(pins) == {name: constraints[_plain(name)] for name, _ in pins}
    makefile = (ROOT / "Makefile").read_text()
    assert f"TORCH ?= torch=={constraints['torch']}\n" in makefile


def test_container_is_multi_stage_non_root_and_offline(dockerfile: list[str]) -> None:
    stages = [line for line in dockerfile if line.startswith("FROM ")]
    assert [stage.split(" AS ")[1] for stage in stages] == ["build", "serve"]
    (image,) = (line for line in dockerfile if line.startswith("ARG CUDA_IMAGE="))
    assert re.search(r"cuda:13\.\d+\.\d+-", image)
    served = dockerfile[dockerfile.index(stages[1]) :]
    assert any(line.startswith("HEALTHCHECK") and "/health/ready" in line for line in served)
    users = [line.split()[1] for line in served if line.startswith("USER ")]
    assert users == ["animate"]
    environment = " ".join(line for line in served if line.startswith("ENV "))
    assert "PYTHONSAFEPATH=1" in environment
    assert "HF_HUB_OFFLINE=1" in environment
    commands = [line for line in served if line.startswith(("RUN", "CMD", "ENTRYPOINT"))]
    assert not [line for line in commands if re.search(r"pip install|curl|wget|fetch", line)]
