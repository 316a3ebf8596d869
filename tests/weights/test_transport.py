"""Bundles travel whole: hashes, tars and folders, and what is refused."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from animate_weights.errors import BundleError
from animate_weights.hashes import HASHES_NAME, find_changes, hash_files, read_hashes, write_hashes
from animate_weights.manifest import fingerprint
from animate_weights.transport import import_bundle, pack_bundle


def _ignore(num_bytes: int) -> None:
    pass


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))


def test_a_bundle_comes_out_of_its_tar_as_it_went_in(bundle: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    pack_bundle(bundle, tmp_path / "bundle.tar", seen.append)
    assert sum(seen) == 2 * sum(path.stat().st_size for path in bundle.rglob("*") if path.is_file())
    assert not (bundle / HASHES_NAME).exists()
    import_bundle(tmp_path / "bundle.tar", tmp_path / "new", _ignore)
    hashes = read_hashes(tmp_path / "new")
    assert hashes == hash_files(bundle, _ignore)
    assert find_changes(tmp_path / "new", hashes, _ignore) == []
    assert fingerprint(tmp_path / "new") == fingerprint(bundle)


def test_a_folder_without_hashes_gets_them(bundle: Path, tmp_path: Path) -> None:
    import_bundle(bundle, tmp_path / "new", _ignore)
    assert read_hashes(tmp_path / "new") == hash_files(bundle, _ignore)
    with pytest.raises(BundleError, match="exists already"):
        import_bundle(bundle, tmp_path / "new", _ignore)


def test_what_was_changed_on_the_way_is_refused_and_leaves_nothing(bundle: Path, tmp_path: Path) -> None:
    write_hashes(bundle, hash_files(bundle, _ignore))
    vae = bundle / "vae/diffusion_pytorch_model.safetensors"
    damaged = bytearray(vae.read_bytes())
    damaged[-100] ^= 4
    vae.write_bytes(damaged)
    with pytest.raises(BundleError, match=r"vae/diffusion_pytorch_model\.safetensors is not what it was"):
        import_bundle(bundle, tmp_path / "new", _ignore)
    with pytest.raises(BundleError, match="is not what it was"):
        pack_bundle(bundle, tmp_path / "bundle.tar", _ignore)
    (bundle / "manifest.json").unlink()
    with pytest.raises(BundleError, match=r"manifest\.json is missing \(and 1 more\)"):
        import_bundle(bundle, tmp_path / "new", _ignore)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]


def test_a_tar_cannot_write_outside(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar", "w") as tar:
        entry = tarfile.TarInfo("../outside.txt")
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"x"))
    with pytest.raises(BundleError, match=r"evil\.tar cannot be unpacked"):
        import_bundle(tmp_path / "evil.tar", tmp_path / "folder/new", _ignore)
    assert not list(tmp_path.rglob("outside.txt"))


def test_a_cut_off_tar_is_refused(bundle: Path, tmp_path: Path) -> None:
    pack_bundle(bundle, tmp_path / "bundle.tar", _ignore)
    whole = (tmp_path / "bundle.tar").read_bytes()
    (tmp_path / "bundle.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError):
        import_bundle(tmp_path / "bundle.tar", tmp_path / "new", _ignore)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("line", ["abc  file", f"{'0' * 64}  /etc/passwd", f"{'0' * 64}  a/../../b"])
def test_a_damaged_list_of_hashes_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / HASHES_NAME).write_text(f"{'0' * 64}  good\n{line}\n")
    with pytest.raises(BundleError, match="line 2"):
        read_hashes(tmp_path)
