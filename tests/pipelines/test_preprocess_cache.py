"""The preprocess cache: one driver for many characters pays once, within a bound, and with several processes at it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from animate_pipelines.families.registry import Models
from animate_pipelines.job.cache import PreprocessCache, cache_key
from animate_pipelines.job.input_files import InputFiles
from animate_pipelines.render import render_video
from animate_pipelines.request.params import RenderParams
from animate_pipelines.result import RenderResult
from animate_weights.hashes import hash_sample


def _render(
    models: Models, media: InputFiles, folder: Path, cache: PreprocessCache | None, **fields: Any
) -> RenderResult:
    values: dict[str, Any] = {"reference_image": "-", "driving_video": "-", "seed": 3, "steps": 1, "num_frames": 5}
    params = RenderParams(**{"resolution": "480p", "mode": "replace"} | values | fields)
    folder.mkdir()
    return render_video(models, params, media, folder / "out.mp4", workspace=folder / "work", cache=cache)


def test_the_second_character_costs_no_preprocessing(short_models: Models, media: InputFiles, tmp_path: Path) -> None:
    cache = PreprocessCache(tmp_path / "cache", max_bytes=10**9)
    first = _render(short_models, media, tmp_path / "first", cache)
    assert not first.preprocess_cached
    assert all(first.preprocess_seconds[part] > 0 for part in ("detect", "pose", "mask"))

    cv2.imwrite(str(tmp_path / "other.png"), np.random.default_rng(5).integers(0, 256, (80, 60, 3), np.uint8))
    other = dataclasses.replace(media, reference_image=tmp_path / "other.png")
    second = _render(short_models, other, tmp_path / "second", cache, seed=4, prompt="another")
    assert second.preprocess_cached
    assert [second.preprocess_seconds[part] for part in ("detect", "pose", "mask")] == [0.0, 0.0, 0.0]
    for name in ("people.npz", "masks.npy"):
        assert (tmp_path / "second/work" / name).read_bytes() == (tmp_path / "first/work" / name).read_bytes()


def test_a_cached_render_gives_the_same_file(short_models: Models, media: InputFiles, tmp_path: Path) -> None:
    cache = PreprocessCache(tmp_path / "cache", max_bytes=10**9)
    results = [_render(short_models, media, tmp_path / name, cache) for name in ("first", "second")]
    assert [result.preprocess_cached for result in results] == [False, True]
    assert results[0].path.read_bytes() == results[1].path.read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("change", [{"fps": 10}, {"mode": "animate"}, {"num_frames": 3}])
def test_what_changes_the_frames_is_found_anew(
    change: dict[str, Any], short_models: Models, media: InputFiles, tmp_path: Path
) -> None:
    cache = PreprocessCache(tmp_path / "cache", max_bytes=10**9)
    _render(short_models, media, tmp_path / "first", cache)
    result = _render(short_models, media, tmp_path / "second", cache, **change)
    assert not result.preprocess_cached
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_other_networks_find_anew(short_models: Models, media: InputFiles, tmp_path: Path) -> None:
    cache = PreprocessCache(tmp_path / "cache", max_bytes=10**9)
    _render(short_models, media, tmp_path / "first", cache)
    family = dataclasses.replace(short_models.family, readers_hash="another")
    retrained = dataclasses.replace(short_models, family=family)
    assert not _render(retrained, media, tmp_path / "second", cache).preprocess_cached


def test_a_network_is_known_by_its_bytes(tmp_path: Path) -> None:
    network = tmp_path / "det" / "net.onnx"
    network.parent.mkdir()
    hashes = set()
    for content in (b"one", b"two", b"three"):
        network.write_bytes(content)
        hashes.add(hash_sample(tmp_path))
    assert len(hashes) == 3


def _entry(folder: Path, size_bytes: int) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / "people.npz"
    file.unlink(missing_ok=True)
    file.write_bytes(bytes(size_bytes))
    return file


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = PreprocessCache(tmp_path / "cache", max_bytes=250)
    for age, key in ((300, "a"), (200, "b")):
        cache.keep(key, [_entry(tmp_path / "work", 100)])
        used_at = (tmp_path / "cache" / key).stat().st_mtime - age
        os.utime(tmp_path / "cache" / key, (used_at, used_at))
    (tmp_path / "taken").mkdir()
    assert cache.restore("a", tmp_path / "taken")  # now b is the one that was not used longest
    cache.keep("c", [_entry(tmp_path / "work", 100)])
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["a", "c"]


def test_what_is_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    cache = PreprocessCache(tmp_path / "cache", max_bytes=99)
    cache.keep("a", [_entry(tmp_path / "work", 100)])
    (tmp_path / "taken").mkdir()
    assert not cache.restore("a", tmp_path / "taken")
    assert list((tmp_path / "taken").iterdir()) == []


def test_a_key_is_of_the_values_not_of_their_order() -> None:
    assert cache_key({"a": 1, "b": [2]}) == cache_key({"b": [2], "a": 1})
    assert cache_key({"a": 1}) != cache_key({"a": 2})


_ROUNDS = """
    import sys
    from pathlib import Path
    from animate_pipelines.job.cache import PreprocessCache

    home, name = Path(sys.argv[1]), sys.argv[2]
    cache = PreprocessCache(home / "cache", max_bytes=2_500)  # two entries of five: every round evicts
    mine = home / name
    mine.mkdir()
    hits = 0
    for round in range(200):
        key = str(round * (3 if name == "one" else 2) % 5)
        wanted = key.encode() * 500
        target = mine / f"take-{round}"
        target.mkdir()
        if cache.restore(key, target):
            hits += 1
            assert sorted(path.name for path in target.iterdir()) == ["masks.npy", "people.npz"], "half an entry"
            assert all(path.read_bytes() == wanted for path in target.iterdir()), "another entry's bytes"
        else:
            assert not list(target.iterdir()), "left-overs of a miss"
            made = [target / "people.npz", target / "masks.npy"]
            for path in made:
                path.write_bytes(wanted)
            cache.keep(key, made)
    print(hits)
"""


def test_two_processes_share_it(tmp_path: Path) -> None:
    """Each sees whole entries or none, while both add, evict and read the same few."""
    script = textwrap.dedent(_ROUNDS)
    workers = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name], stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    hits = [int(worker.communicate(timeout=120)[0]) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert sum(hits) > 0
    left = list((tmp_path / "cache").iterdir())
    assert all(not path.name.startswith(".") for path in left)
    assert sum(file.stat().st_size for path in left for file in path.iterdir()) <= 3_000
