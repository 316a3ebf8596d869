"""Adapters: the ports over this server's store, folders and settings."""

from __future__ import annotations

import threading

from animate_server.adapters.bodies import LimitedBodies
from animate_server.adapters.callers import KeyringCallers
from animate_server.adapters.calls import OutboxCalls
from animate_server.adapters.files import StoredFiles
from animate_server.adapters.jobs import StoredJobs
from animate_server.adapters.uploads import StoredUploads
from animate_server.addresses import AddressPolicy
from animate_server.backend import Backend
from animate_server.ports import Ports


def make_ports(backend: Backend, closing: threading.Event) -> Ports:
    """Return the ports over `backend`.

    closing: set when the server is told to stop; those who wait for a job are then let go.
    """
    settings = backend.settings
    policy = AddressPolicy.of(settings.fetch_allow, public=settings.fetch_public)
    callers = KeyringCallers(settings)
    return Ports(
        callers=callers,
        bodies=LimitedBodies(settings, callers),
        jobs=StoredJobs(backend, policy, closing),
        uploads=StoredUploads(settings, backend.uploads, callers, policy),
        calls=OutboxCalls(backend.outbox, policy),
        files=StoredFiles(backend),
    )
