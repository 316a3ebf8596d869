from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from animate_server.errors import JobNotFound
from animate_server.presign import Presigner, read_secret


def test_a_permission_is_what_its_token_says_until_it_expires(clock: Any) -> None:
    presigner = Presigner(b"secret", lifetime_s=60, clock=clock)
    signed = presigner.presign("owner")
    assert presigner.read_token(signed.token) == signed
    assert (signed.owner, signed.expires_at) == ("owner", clock.now + 60)
    clock.now += 60
    with pytest.raises(JobNotFound):
        presigner.read_token(signed.token)


def test_no_part_of_a_token_can_be_changed(clock: Any) -> None:
    presigner = Presigner(b"secret", lifetime_s=60, clock=clock)
    upload_id, owner, expires, signature = presigner.presign("owner").token.split(".")
    for forged in (
        f"{upload_id}x.{owner}.{expires}.{signature}",
        f"{upload_id}.another.{expires}.{signature}",
        f"{upload_id}.{owner}.{int(expires) + 1}.{signature}",
        f"{upload_id}.{owner}.{expires}.{'0' * 64}",
        f"{upload_id}.{owner}.{'9' * 400}.{signature}",
        f"{upload_id}.{owner}.\u0664.{signature}",
        f"{upload_id}.{owner}",
        "",
    ):
        with pytest.raises(JobNotFound):
            presigner.read_token(forged)
    with pytest.raises(JobNotFound):
        Presigner(b"another", lifetime_s=60, clock=clock).read_token(f"{upload_id}.{owner}.{expires}.{signature}")


def test_the_secret_is_drawn_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "home" / "secret"
    first = read_secret(path)
    assert (len(first), read_secret(path)) == (32, first)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["secret"]
