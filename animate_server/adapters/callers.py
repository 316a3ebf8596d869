"""`KeyringCallers`: callers by the API keys of the settings."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection

from animate_server.artefacts import base_url
from animate_server.auth import Keyring
from animate_server.files import check_free_disk
from animate_server.ports.callers import Caller
from animate_server.rates import RateLimit
from animate_server.settings import Settings


class KeyringCallers:
    """Implements `ports.callers.Callers`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._keyring = Keyring(key.get_secret_value() for key in settings.api_keys)
        self._rate = RateLimit(settings.max_requests_per_minute)

    def identify(self, connection: HTTPConnection) -> Caller:
        return self._caller(connection, self._keyring.owner(connection.headers))

    def sign_in(self, connection: HTTPConnection, key: str) -> Caller:
        return self._caller(connection, self._keyring.owner_of(key))

    async def admit(self, owner: str) -> None:
        self._rate.take(owner)
        await run_in_threadpool(check_free_disk, self._settings.home, self._settings.min_free_disk)

    def _caller(self, connection: HTTPConnection, owner: str) -> Caller:
        return Caller(owner=owner, base_url=base_url(connection, self._settings.public_url))
