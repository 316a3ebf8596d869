from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Update, event, update

from animate_pipelines.errors import InvalidField, ServerError
from animate_pipelines.progress.progress import Progress
from animate_server import tables
from animate_server.backend import Backend
from animate_server.database import open_database
from animate_server.errors import IdTaken, JobNotFound, KeyReused, LeaseLost, QueueFull
from animate_server.jobs import TRANSITIONS, Artefact, JobStatus, NewJob
from animate_server.store import Store

ARTEFACT = Artefact(name="a" * 32 + ".mp4", seed=5, media_type="video/mp4", size_bytes=3, sha256="0" * 64)
Make = Callable[..., NewJob]


@pytest.fixture
def store(backend: Backend) -> Store:
    return backend.store


def test_a_job_goes_through_its_states(store: Store, new_job: Make, clock) -> None:
    new = new_job()
    queued = store.add(new)
    assert (queued.status, queued.params, queued.attempts) == (JobStatus.QUEUED, new.params, 0)
    clock.now += 2
    running = store.claim("w")
    assert running is not None
    assert (running.status, running.attempts, running.token, running.worker) == (JobStatus.RUNNING, 1, 1, "w")
    progress = Progress(stage="render", fraction=0.25, segment=1, num_segments=4)
    assert store.renew(running, progress).progress == progress.to_json()
    clock.now += 3
    done = store.finish(running, [ARTEFACT], {"width": 1280})
    assert (done.status, done.artefacts, done.result) == (JobStatus.SUCCEEDED, (ARTEFACT,), {"width": 1280})
    assert store.find_artefact(ARTEFACT.name) == ARTEFACT
    assert store.totals() == {"succeeded": (1, 2.0, 3.0)}
    assert store.get(done.id) == done


def test_terminal_states_never_change(store: Store, new_job: Make) -> None:
    store.add(new_job())
    job = store.claim("w")
    assert job is not None
    store.fail(job, InvalidField("bad", field="fps", value=0, limit="1 to 120"))
    for late in (
        lambda: store.finish(job, [ARTEFACT], {}),
        lambda: store.fail(job, ServerError()),
        lambda: store.retry(job, ServerError()),
        lambda: store.cancel(job),
        lambda: store.release(job),
        lambda: store.renew(job),
    ):
        with pytest.raises(LeaseLost):
            late()
    failed = store.request_cancel(job.id, "owner")
    assert failed.status is JobStatus.FAILED
    assert failed.error is not None
    assert failed.error.to_json() == {
        "code": "invalid_field",
        "message": "bad",
        "field": "fps",
        "value": 0,
        "limit": "1 to 120",
    }
    assert failed.error.fault == "request"


def test_only_expiry_follows_a_final_state() -> None:
    for status, following in TRANSITIONS.items():
        if status.is_final:
            assert following <= {JobStatus.EXPIRED}
    assert TRANSITIONS[JobStatus.EXPIRED] == frozenset()


def test_jobs_are_claimed_in_order_and_once(store: Store, new_job: Make) -> None:
    ids = [store.add(new_job()).id for _ in range(20)]
    claimed: list[str] = []

    def work(name: str) -> None:
        while (job := store.claim(name)) is not None:
            claimed.append(job.id)

    threads = [threading.Thread(target=work, args=(f"w{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(claimed) == sorted(ids)
    assert len(set(claimed)) == len(ids)
    first = store.add(new_job()).id
    store.add(new_job())
    assert getattr(store.claim("w"), "id", None) == first


def test_one_owner_has_so_many_running_and_others_pass(backend: Backend, new_job: Make, clock) -> None:
    store = Store(backend.engine, clock=clock, max_running=2)
    mine = [store.add(new_job(owner="a")).id for _ in range(3)]
    other = store.add(new_job(owner="b")).id
    claimed = [store.claim("w") for _ in range(4)]
    assert [job and job.id for job in claimed] == [*mine[:2], other, None]
    assert [job.waiting for job in store.list("a", oldest_first=True, limit=3)] == [False, False, True]
    assert not store.get(store.add(new_job(owner="b")).id).waiting
    assert claimed[0] is not None
    store.cancel(claimed[0])
    assert not store.get(mine[2]).waiting
    freed = store.claim("w")
    assert freed is not None
    assert freed.id == mine[2]


def test_a_silent_worker_loses_its_job_and_cannot_publish(store: Store, new_job: Make, clock) -> None:
    store.add(new_job())
    asleep = store.claim("asleep")
    assert asleep is not None
    clock.now += 29
    assert store.claim("awake") is None
    clock.now += 2
    awake = store.claim("awake")
    assert awake is not None
    assert (awake.id, awake.token, awake.attempts) == (asleep.id, 2, 2)
    with pytest.raises(LeaseLost):
        store.finish(asleep, [ARTEFACT], {})
    assert store.finish(awake, [ARTEFACT], {}).status is JobStatus.SUCCEEDED


def test_a_renewed_lease_is_kept(store: Store, new_job: Make, clock) -> None:
    store.add(new_job())
    job = store.claim("w")
    assert job is not None
    for _ in range(10):
        clock.now += 25
        store.renew(job)
    assert store.requeue_lost() == []


def test_a_poison_job_fails_for_good_after_three_attempts(store: Store, new_job: Make) -> None:
    job_id = store.add(new_job()).id
    for attempt in (1, 2, 3):
        job = store.claim("w")
        assert job is not None
        assert job.attempts == attempt
        store.renew(job, Progress(stage="encode", fraction=0.1))
        job = store.retry(job, ServerError("the disk is gone"))
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.message == "the disk is gone (attempt 3 of 3, in stage 'encode')"
    assert store.get(job_id) == job
    assert store.claim("w") is None


def test_a_lost_worker_counts_as_an_attempt_and_a_drained_one_does_not(store: Store, new_job: Make) -> None:
    store.add(new_job())
    for _ in range(5):
        job = store.claim("w")
        assert job is not None
        assert store.release(job).attempts == 0
    for _ in range(3):
        store.claim("w")
        (job,) = store.requeue_lost(worker="w")
    assert job.status is JobStatus.FAILED


def test_cancel(store: Store, new_job: Make) -> None:
    queued = store.add(new_job())
    assert store.request_cancel(queued.id, "owner").status is JobStatus.CANCELED
    store.add(new_job())
    running = store.claim("w")
    assert running is not None
    asked = store.request_cancel(running.id, "owner")
    assert (asked.status, asked.cancel_requested) == (JobStatus.RUNNING, True)
    assert store.renew(running).cancel_requested
    assert store.cancel(running).status is JobStatus.CANCELED
    assert store.claim("w") is None


def test_a_job_that_changes_while_it_is_looked_at_is_looked_at_again(
    store: Store, backend: Backend, new_job: Make
) -> None:
    job_id = store.add(new_job()).id
    store.add(new_job())
    row = update(tables.jobs).where(tables.jobs.c.id == job_id)
    others: list[Update] = []

    def come_between(connection: Connection, _: Any, statement: str, *__: Any) -> None:
        if statement.startswith("UPDATE jobs") and others:
            connection.execute(others.pop())

    event.listen(backend.engine, "before_cursor_execute", come_between)
    others.append(row.values(status="running", worker="faster", token=1, lease_expires_at=9e12))
    claimed = store.claim("w")
    assert claimed is not None
    assert claimed.id != job_id
    others.append(row.values(status="running", worker="third", token=2))
    canceled = store.request_cancel(job_id, "owner")
    assert (canceled.cancel_requested, canceled.token, canceled.worker) == (True, 2, "third")


@pytest.mark.parametrize("end", ["lost", "retried", "released"])
def test_a_job_to_be_canceled_is_not_queued_again(store: Store, new_job: Make, end: str) -> None:
    store.add(new_job())
    job = store.claim("w")
    assert job is not None
    store.request_cancel(job.id, "owner")
    if end == "lost":
        store.requeue_lost(worker="w")
    elif end == "retried":
        store.retry(job, ServerError())
    else:
        store.release(job)
    assert store.get(job.id).status is JobStatus.CANCELED


def test_another_owner_sees_nothing(store: Store, new_job: Make) -> None:
    job = store.add(new_job())
    for attempt in (
        lambda: store.get(job.id, "other"),
        lambda: store.request_cancel(job.id, "other"),
        lambda: store.remove(job.id, "other"),
        lambda: store.list("other", after=job.id),
    ):
        with pytest.raises(JobNotFound):
            attempt()
    assert store.list("other") == []


def test_pages(store: Store, new_job: Make) -> None:
    ids = [store.add(new_job()).id for _ in range(5)]
    first = store.list("owner", limit=2)
    assert [job.id for job in first] == [ids[4], ids[3]]
    assert [job.id for job in store.list("owner", limit=9, after=first[-1].id)] == [ids[2], ids[1], ids[0]]
    assert store.list("owner", status=JobStatus.FAILED) == []


def test_one_job_for_a_hundred_posts_with_one_key(store: Store, new_job: Make) -> None:
    news = [new_job(idempotency_key="k", fingerprint="f") for _ in range(100)]
    with ThreadPoolExecutor(8) as pool:
        ids = {job.id for job in pool.map(store.add, news)}
    assert len(ids) == 1
    assert store.counts()[JobStatus.QUEUED] == 1


def test_an_idempotency_key_is_for_one_request_of_one_owner_for_a_day(store: Store, new_job: Make, clock) -> None:
    first = store.add(new_job(idempotency_key="k", fingerprint="f"))
    with pytest.raises(KeyReused):
        store.add(new_job(idempotency_key="k", fingerprint="g"))
    assert store.add(new_job(idempotency_key="k", fingerprint="g", owner="other")).id != first.id
    clock.now += 24 * 3600 + 1
    assert store.add(new_job(idempotency_key="k", fingerprint="g")).id != first.id


def test_a_full_queue_refuses(backend: Backend, new_job: Make) -> None:
    store = Store(backend.engine, max_queued=1)
    store.add(new_job())
    with pytest.raises(QueueFull):
        store.add(new_job())


def test_expired_jobs_lose_their_artefact_and_then_their_record(store: Store, new_job: Make, clock) -> None:
    store.add(new_job())
    job = store.claim("w")
    assert job is not None
    store.finish(job, [ARTEFACT], {"width": 1})
    clock.now += 7 * 24 * 3600 - 1
    assert store.expire() == []
    clock.now += 2
    (before,) = store.expire()
    assert before.artefact == ARTEFACT
    expired = store.get(job.id)
    assert (expired.status, expired.artefact, expired.result) == (JobStatus.EXPIRED, None, None)
    assert expired.expires_at is not None
    assert store.artefact_names() == frozenset()
    clock.now += 7 * 24 * 3600
    assert store.purge() == 1


_ADD_FOR_EVER = """
import sys
from pathlib import Path
from animate_pipelines.request.params import RenderParams
from animate_server.database import open_database
from animate_server.jobs import NewJob
from animate_server.store import Store
store = Store(open_database(Path(sys.argv[1])), max_queued=10**6)
params = RenderParams(reference_image="https://example.com/a", driving_video="https://example.com/b")
for number in range(10**6):
    store.add(NewJob(id=f"{sys.argv[2]}-{number}", owner="o", dialect="native", params=params))
    print(f"{sys.argv[2]}-{number}", flush=True)
"""


def test_every_acknowledged_job_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite3"
    acknowledged: list[str] = []
    for run in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", _ADD_FOR_EVER, str(path), str(run)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        with process, process.stdout as lines:
            for _ in range(5 + 17 * run):
                acknowledged.append(lines.readline().strip())
            process.send_signal(signal.SIGKILL)
            acknowledged += [line.strip() for line in lines if line.endswith("\n")]
    engine = open_database(path)
    store = Store(engine)
    assert len(acknowledged) >= 60
    assert all(store.get(job_id).status is JobStatus.QUEUED for job_id in acknowledged)
    engine.dispose()


def test_an_id_is_taken_once_and_a_job_may_have_its_own_time(store: Store, new_job: Make, clock) -> None:
    store.add(new_job(id="chosen", retention_s=60.0))
    with pytest.raises(IdTaken, match="there is a job chosen already"):
        store.add(new_job(id="chosen", owner="another"))
    running = store.claim("w")
    assert running is not None
    done = store.finish(running, [ARTEFACT, replace(ARTEFACT, name="c" * 32 + ".mp4", seed=6)], {})
    assert done.expires_at == clock.now + 60
    assert store.find_artefact("c" * 32 + ".mp4").seed == 6
    assert len(store.artefact_names()) == 2
    clock.now += 61
    (expired,) = store.expire()
    assert (expired.artefacts, store.artefact_names(), store.get("chosen").artefacts) == (
        done.artefacts,
        frozenset(),
        (),
    )


def test_durability_settings(backend: Backend) -> None:
    with backend.engine.begin() as connection:
        pragmas = [connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in ("journal_mode", "synchronous")]
    assert pragmas == ["wal", 2]
