"""Small bundles take few threads; a choice of the user's wins."""

from __future__ import annotations

from pathlib import Path

import pytest

from animate_pipelines.loading.threads import threads_for
from animate_weights.bundles import find_bundle


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def test_threads_by_the_size_of_the_bundle(tiny_bundle: Path, home: Path, tmp_path: Path) -> None:
    assert (threads_for(tiny_bundle), threads_for(find_bundle("puppet", home))) == (1, 2)
    with (tmp_path / "weights").open("wb") as file:
        file.truncate(34 * 10**9)
    assert threads_for(tmp_path) is None


def test_the_users_own_number_wins(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert threads_for(tiny_bundle) is None
