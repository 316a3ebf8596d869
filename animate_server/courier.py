"""`Courier`: makes the calls that the outbox owes, each in the words of its job's dialect, until they are taken."""

from __future__ import annotations

import dataclasses
import json
import logging
import random
import threading
from collections.abc import Callable, Mapping

from animate_pipelines.errors import AnimateError
from animate_server.addresses import AddressPolicy, redact
from animate_server.dialects import Caller, Desk, WebhookRules
from animate_server.errors import JobNotFound
from animate_server.fetch import Resolver, post, resolve
from animate_server.jobs import JobStatus
from animate_server.outbox import Outbox
from animate_server.store import Store
from animate_server.webhooks import Attempt, Call

log = logging.getLogger(__name__)

POLL_S = 0.5
JITTER = 0.2  # of a pause, either way: receivers that come back must not be met by all at once


class Courier:
    """rules: by the name of the dialect. jitter: a number between the two given."""

    def __init__(
        self,
        outbox: Outbox,
        store: Store,
        desk: Desk,
        rules: Mapping[str, WebhookRules],
        policy: AddressPolicy,
        *,
        jitter: Callable[[float, float], float] = random.uniform,
        resolver: Resolver = resolve,
    ) -> None:
        self._outbox = outbox
        self._store = store
        self._desk = desk
        self._rules = rules
        self._policy = policy
        self._jitter = jitter
        self._resolver = resolver

    def run(self, stopped: threading.Event) -> None:
        """Until `stopped`. Several threads, of several servers too, may run at once."""
        while not stopped.is_set():
            try:
                if not self.send_one():
                    stopped.wait(POLL_S)
            except Exception:  # an outer wall: one failed round must not be the last
                log.exception("a webhook could not be called; it will be tried again")
                stopped.wait(POLL_S)

    def send_one(self) -> bool:
        """Make the call that is due longest. False when none is."""
        call = self._outbox.take_due()
        if call is None:
            return False
        try:
            call = self._with_body(call)
        except AnimateError as error:
            self._outbox.note(call, None, self._failed(error), None)
            return True
        if call.body is None:
            self._outbox.drop(call)
            return True
        self._send(call, call.body)
        return True

    def _with_body(self, call: Call) -> Call:
        """Body None: the service does not call at such an end. Raises `JobNotFound` when there is no job to tell of."""
        rules = self._rules.get(call.dialect)
        if rules is None:
            raise JobNotFound(f"the interface {call.dialect} is switched off")
        if call.body is not None:
            return call
        job = self._store.get(call.job_id)
        if job.status is JobStatus.EXPIRED:
            raise JobNotFound(f"job {job.id} has expired")
        body = rules.render(job, self._desk, Caller(owner=call.owner, base_url=call.base_url))
        return call if body is None else dataclasses.replace(call, body=json.dumps(body, ensure_ascii=False))

    def _send(self, call: Call, body: str) -> None:
        rules = self._rules[call.dialect]
        now = self._outbox.clock()
        headers = {"content-type": "application/json"} | rules.headers(call, body, now)
        try:
            code, text = post(call.url, body.encode(), headers, policy=self._policy, resolver=self._resolver)
            attempt = Attempt(at=now, status_code=code, response=text)
        except AnimateError as error:
            attempt = self._failed(error)
        again_at = None
        if not attempt.delivered and call.tries < len(rules.pauses_s):
            again_at = now + rules.pauses_s[call.tries] * self._jitter(1 - JITTER, 1 + JITTER)
        self._outbox.note(call, body, attempt, again_at)
        said = attempt.status_code or attempt.error
        log.info("job %s: %s answered %s, attempt %d", call.job_id, redact(call.url), said, call.tries + 1)

    def _failed(self, error: AnimateError) -> Attempt:
        return Attempt(at=self._outbox.clock(), status_code=None, error=error.message)
