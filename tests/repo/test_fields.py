"""A field is written down once: a line added to the table is in the command line, the API, the page and the checks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = (
    "animate_server",
    "pipelines/animate_pipelines",
    "weights/animate_weights",
    "kernels/animate_kernels",
    "docs",
)
LINE = '    grain: int = fields.whole(0, 0, 10, unit="dB", group="output", help="How much film grain is added.")\n'
ASK = """
import json, runpy, sys
from animate_pipelines.errors import InvalidField
from animate_pipelines.request.params import RenderParams
from animate_server.dialects.native import parse
from animate_server.dialects.native.schema import JobRequest

pair = {"reference_image": "a", "driving_video": "b"}
try:
    parse(pair | {"grain": 11})
except InvalidField as error:
    refused = error.to_json()
print(json.dumps({
    "schema": JobRequest.model_json_schema()["properties"]["grain"],
    "page": runpy.run_path(sys.argv[1] + "/docs/write_options.py")["write_page"](),
    "refused": refused,
    "kept": RenderParams.from_json(RenderParams(**pair, grain=3).to_json()).grain,
}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources with one more line in the table of fields."""
    root = tmp_path_factory.mktemp("sources")
    for source in SOURCES:
        shutil.copytree(ROOT / source, root / source, ignore=shutil.ignore_patterns("__pycache__", "bundle", "*.png"))
    table = root / "pipelines/animate_pipelines/request/params.py"
    before, mark, after = table.read_text().partition("    num_results: int = fields.whole(")
    assert mark
    table.write_text(before + LINE + mark + after)
    return root


def _run(copy: Path, script: str, *arguments: str) -> str:
    paths = [copy, *(copy / folder for folder in ("pipelines", "weights", "kernels"))]
    environment = os.environ | {"COLUMNS": "200", "PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment, cwd=copy).stdout


def test_one_line_in_the_table_is_enough(copy: Path) -> None:
    found = json.loads(_run(copy, ASK, str(copy)))
    assert (found["schema"]["minimum"], found["schema"]["maximum"], found["schema"]["default"]) == (0, 10, 0)
    assert found["schema"]["description"] == "How much film grain is added."
    assert (
        "| `grain` | `--grain` | whole number, 0 to 10 dB, default `0` | all | How much film grain is added. |"
        in (found["page"])
    )
    assert (found["refused"]["field"], found["refused"]["limit"]) == ("grain", "whole number from 0 to 10")
    assert found["kept"] == 3


def test_it_is_an_option_of_the_commands(copy: Path) -> None:
    for command in ("render", "run"):
        shown = _run(copy, "from animate_server.cli import main; main()", command, "--help")
        assert "--grain" in shown
        assert "How much film grain is added. (whole number, 0 to 10 dB)" in " ".join(shown.split())
