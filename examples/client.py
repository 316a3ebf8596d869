"""Submit a job to a server, wait for its end and download the video, with the standard library alone.

ANIMATE_SERVER=http://host:8000 ANIMATE_API_KEY=... python examples/client.py who.png what.mp4 out.mp4 --mode replace
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

SERVER = os.environ.get("ANIMATE_SERVER", "http://127.0.0.1:8000")
KEY = os.environ.get("ANIMATE_API_KEY", "")
POLL_S = 2.0


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("image", type=Path)
    parser.add_argument("video", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--mode", choices=("animate", "replace"), default="animate")
    arguments = parser.parse_args()
    try:
        # Any field of POST /v1/jobs may stand beside these; the server's /docs lists them.
        fields = {
            "reference_image": upload(arguments.image),
            "driving_video": upload(arguments.video),
            "mode": arguments.mode,
        }
        job = wait(call("/v1/jobs", json.dumps(fields).encode(), "application/json"))
    except HTTPError as refused:
        sys.exit(json.load(refused)["error"]["message"])
    if job["status"] != "succeeded":
        sys.exit(f"job {job['id']} is {job['status']}: {(job['error'] or {}).get('message')}")
    download(job["artefact"]["url"], arguments.output)
    print(arguments.output)


def upload(path: Path) -> str:
    """Send a file once; any number of jobs may name it by the id that comes back, `upload:...`."""
    with path.open("rb") as file:
        return str(call("/v1/uploads", file, "application/octet-stream", path.stat().st_size)["id"])


def wait(job: dict[str, Any]) -> dict[str, Any]:
    """Return the job once it has ended. `/v1/jobs/ID/events` tells the same as server-sent events."""
    while job["status"] in ("queued", "running"):
        time.sleep(POLL_S)
        job = call(f"/v1/jobs/{job['id']}")
        print(f"{job['status']} {(job['progress'] or {}).get('fraction', 0):.0%}", file=sys.stderr)
    return job


def download(url: str, path: Path) -> None:
    """Write beside `path` and rename, so that it is whole or absent. The file needs no key."""
    partial = path.with_name(path.name + ".part")
    with urlopen(url) as response, partial.open("wb") as file:
        shutil.copyfileobj(response, file)
    partial.rename(path)


def call(path: str, body: bytes | IO[bytes] | None = None, media_type: str = "", size: int = 0) -> dict[str, Any]:
    """GET, or POST with a body. Raises `HTTPError`, whose body says why."""
    request = Request(SERVER + path, data=body, headers={"authorization": f"Bearer {KEY}"})
    if body is not None:
        request.add_header("content-type", media_type)
    if size:
        request.add_header("content-length", str(size))
    with urlopen(request) as response:
        return dict(json.load(response))


if __name__ == "__main__":
    main()
