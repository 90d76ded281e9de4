from __future__ import annotations

import os
from pathlib import Path

import pytest

from shared.errors import UserError
from shared.messages import Checkpoint
from shared.model_store import CorruptObject, MissingObject, ModelStore


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(str(tmp_path / "store"))


def test_what_is_put_can_be_got(store: ModelStore) -> None:
    stored = store.put("world-models/wm_00_00", b"weights")
    assert stored.address.startswith("world-models/wm_00_00/")
    assert stored.sha256 in stored.address
    assert store.get(stored) == b"weights"
    assert store.put("world-models/wm_00_00", b"weights") == stored


def test_a_damaged_file_is_never_returned(store: ModelStore, tmp_path: Path) -> None:
    stored = store.put("dreams/wm", b"weights")
    file = tmp_path / "store" / stored.address
    file.write_bytes(b"weighty")
    with pytest.raises(CorruptObject, match="SHA-256"):
        store.get(stored)
    file.write_bytes(b"weight")
    with pytest.raises(CorruptObject, match="size"):
        store.get(stored)
    file.unlink()
    with pytest.raises(MissingObject):
        store.get(stored)


@pytest.mark.parametrize("address", ["", "..", "../x", "a/../../x", "/etc/passwd", "a/.hidden", "a/b\x00c", "a b/c"])
def test_no_address_leads_out(store: ModelStore, address: str) -> None:
    with pytest.raises(ValueError, match="unsafe"):
        store.get(Checkpoint(address=address, sha256="0" * 64, size=1))


def test_folders_do_not_lead_out_either(store: ModelStore) -> None:
    with pytest.raises(ValueError, match="unsafe"):
        store.put("../outside", b"x")


def test_the_newest_are_kept(store: ModelStore, tmp_path: Path) -> None:
    stored = [store.put("dreams/wm", bytes([n])) for n in range(6)]
    for age, item in enumerate(stored):
        os.utime(tmp_path / "store" / item.address, (1000 + age, 1000 + age))
    assert store.keep_newest("dreams/wm", 2, keep=[stored[0].address]) == 3
    left = [item for item in stored if (tmp_path / "store" / item.address).exists()]
    assert left == [stored[0], stored[4], stored[5]]
    assert store.keep_newest("dreams/nobody", 2) == 0


def test_half_a_file_is_never_seen(store: ModelStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise ValueError("stands for a process that dies here")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ValueError, match="dies"):
        store.put("dreams/wm", b"weights")
    monkeypatch.undo()
    described = Checkpoint.of("x", b"weights")
    address = f"dreams/wm/{described.sha256}.safetensors"
    with pytest.raises(MissingObject):
        store.get(described.model_copy(update={"address": address}))
    assert store.get(store.put("dreams/wm", b"weights")) == b"weights"


def test_a_damaged_file_is_mended_by_storing_it_again(store: ModelStore, tmp_path: Path) -> None:
    stored = store.put("dreams/wm", b"weights")
    (tmp_path / "store" / stored.address).write_bytes(b"")
    assert store.get(store.put("dreams/wm", b"weights")) == b"weights"


def test_a_store_that_is_no_directory() -> None:
    store = ModelStore("memory://store")
    stored = [store.put("dreams/wm", bytes([n])) for n in range(3)]
    assert store.keep_newest("dreams/wm", 1) == 2
    assert store.get(stored[2]) == b"\x02"


def test_leftovers_of_the_dead_are_bounded(store: ModelStore, tmp_path: Path) -> None:
    folder = tmp_path / "store" / "dreams" / "wm"
    folder.mkdir(parents=True)
    stored = store.put("dreams/wm", b"weights")
    leftover, busy = folder / ".part-old", folder / ".part-new"
    leftover.write_bytes(b"wei")
    busy.write_bytes(b"wei")
    os.utime(leftover, (1000, 1000))
    store.keep_newest("dreams/wm", 1)
    assert not leftover.exists()
    assert busy.exists(), "somebody may be writing it"
    assert store.get(stored) == b"weights", "a temporary file does not count as one of the newest"


def test_a_place_that_can_not_be_written_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="PTZ_MODEL_STORE"):
        ModelStore(str(tmp_path / "file" / "store"))
    with pytest.raises(UserError, match="PTZ_MODEL_STORE"):
        ModelStore("nonsense://x")


def test_no_space_is_the_users_error(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "store" / "dreams").write_text("in the way")
    with pytest.raises(UserError, match="dreams/wm"):
        store.put("dreams/wm", b"weights")
