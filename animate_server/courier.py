"""`Courier`: makes the calls that the outbox owes until they are taken: words in a job's dialect, or its file."""

from __future__ import annotations

import json
import logging
import random
import threading
from collections.abc import Callable, Mapping
from functools import partial

from animate_pipelines.errors import AnimateError
from animate_server.addresses import AddressPolicy, redact
from animate_server.artefacts import Artefacts
from animate_server.deliver import post, put_file
from animate_server.dialect import WebhookRules
from animate_server.errors import JobNotFound
from animate_server.jobs import Job, JobStatus
from animate_server.outbox import Outbox
from animate_server.pinned import Resolver, resolve
from animate_server.ports.callers import Caller
from animate_server.ports.files import Files
from animate_server.store import Store
from animate_server.webhooks import Attempt, Call, Method

log = logging.getLogger(__name__)

POLL_S = 0.5
JITTER = 0.2  # of a pause, either way: receivers that come back must not be met by all at once


class Courier:
    """Makes the calls that are due.

    rules: by the name of the dialect.
    jitter: draws a number between the two given.
    """

    def __init__(
        self,
        outbox: Outbox,
        store: Store,
        artefacts: Artefacts,
        files: Files,
        rules: Mapping[str, WebhookRules],
        policy: AddressPolicy,
        *,
        jitter: Callable[[float, float], float] = random.uniform,
        resolver: Resolver = resolve,
    ) -> None:
        self._outbox = outbox
        self._store = store
        self._artefacts = artefacts
        self._files = files
        self._rules = rules
        self._policy = policy
        self._jitter = jitter
        self._resolver = resolver

    def run(self, method: Method, stopped: threading.Event) -> None:
        """Make calls until `stopped`. Several threads, of several servers too, may run at once."""
        while not stopped.is_set():
            try:
                if not self.send_one(method):
                    stopped.wait(POLL_S)
            except Exception:  # an outer wall: one failed round must not be the last
                log.exception("a webhook could not be called; it will be tried again")
                stopped.wait(POLL_S)

    def send_one(self, method: Method = "POST") -> bool:
        """Make the call by that method that is due longest. Return False when none is."""
        call = self._outbox.take_due(method)
        if call is None:
            return False
        try:
            job = self._job_of(call)
            if method == "PUT":
                self._send_file(call, job)
            else:
                self._tell(call, job)
        except AnimateError as error:
            self._outbox.note(call, None, self._failed(error), None)
        return True

    def _job_of(self, call: Call) -> Job:
        """Return the job of a call. Raises `JobNotFound` when there is no job to tell of, or nobody to tell."""
        if call.dialect not in self._rules:
            raise JobNotFound(f"the interface {call.dialect} is switched off")
        job = self._store.get(call.job_id)
        if job.status is JobStatus.EXPIRED and call.body is None:
            raise JobNotFound(f"job {job.id} has expired")
        return job

    def _tell(self, call: Call, job: Job) -> None:
        rules, now = self._rules[call.dialect], self._outbox.clock()
        text = call.body
        if text is None:
            body = rules.render(job, self._files, Caller(owner=call.owner, base_url=call.base_url))
            if body is None:  # the service does not call at such an end
                self._outbox.drop(call)
                return
            text = json.dumps(body, ensure_ascii=False)
        headers = {"content-type": "application/json"} | rules.headers(call, text, now)
        self._attempt(call, text, partial(post, call.url, text.encode(), headers))

    def _send_file(self, call: Call, job: Job) -> None:
        if job.artefact is None:  # nothing came of the job
            self._outbox.drop(call)
            return
        path = self._artefacts.path(job.artefact)
        self._attempt(call, None, partial(put_file, call.url, path, job.artefact.media_type))

    def _attempt(self, call: Call, body: str | None, send: Callable[..., tuple[int, str]]) -> None:
        now = self._outbox.clock()
        try:
            code, text = send(policy=self._policy, resolver=self._resolver)
            attempt = Attempt(at=now, status_code=code, response=text)
        except AnimateError as error:
            attempt = self._failed(error)
        again_at, pauses_s = None, self._rules[call.dialect].pauses_s
        if not attempt.delivered and call.tries < len(pauses_s):
            again_at = now + pauses_s[call.tries] * self._jitter(1 - JITTER, 1 + JITTER)
        self._outbox.note(call, body, attempt, again_at)
        outcome = attempt.status_code or attempt.error
        log.info("job %s: %s %s: %s, attempt %d", call.job_id, call.method, redact(call.url), outcome, call.tries + 1)

    def _failed(self, error: AnimateError) -> Attempt:
        return Attempt(at=self._outbox.clock(), status_code=None, error=error.message)
