"""`Reports`: the detection report of each job and its picture, kept under the job's id for as long as the job."""

from __future__ import annotations

from pathlib import Path

from animate_pipelines.perception.detection_report import ReportFiles
from animate_server.errors import JobNotFound
from animate_server.files import move_durably
from animate_server.ports.files import ReportKind

REPORT_TYPES: dict[ReportKind, str] = {
    "report.json": "application/json",
    "timeline.png": "image/png",
    "masks.png": "image/png",
}


class Reports:
    """The folder of reports."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, job_id: str, video: Path) -> None:
        """Take over the report beside `video`, if the render got so far as to write one."""
        files = ReportFiles.beside(video)
        kinds = (("report.json", files.report), ("timeline.png", files.timeline), ("masks.png", files.masks))
        for kind, file in kinds:
            if file.is_file():
                move_durably(file, self._folder / f"{job_id}.{kind}")

    def path(self, job_id: str, kind: ReportKind) -> Path:
        """Return where a job's report is. Raises `JobNotFound` when there is none (yet)."""
        path = self._folder / f"{job_id}.{kind}"
        if not path.is_file():
            raise JobNotFound(
                f"job {job_id} has no {kind}: nothing of that has been looked at", field="id", value=job_id
            )
        return path

    def remove(self, job_id: str) -> None:
        """Delete all reports of a job."""
        for kind in REPORT_TYPES:
            (self._folder / f"{job_id}.{kind}").unlink(missing_ok=True)
