from __future__ import annotations

import os
import signal
import string
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import UserError
from shared.messages import Checkpoint
from shared.settings import ServiceSettings
from shared.store.model_store import CorruptObject, MissingObject, ModelStore
from tests.shared.store.store_servers import wait_for
from tests.support import REPOSITORY

FOLDER = "dreams/wm"


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(str(tmp_path / "store"))


def test_a_damaged_file_is_never_returned(store: ModelStore, tmp_path: Path) -> None:
    stored = store.put(FOLDER, b"weights")
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


@pytest.mark.parametrize(
    "address",
    ["", "..", "../x", "a/../../x", "/etc/passwd", "a/.x", "a/b\x00c", "a b/c", "a//b", "a/", "./a", "a\n", "a/" * 9],
)  # fmt: skip
def test_no_address_leads_out(store: ModelStore, address: str) -> None:
    with pytest.raises(ValueError, match="unsafe"):
        store.get(Checkpoint(address=address, sha256="0" * 64, size=1))
    with pytest.raises(ValueError, match="unsafe"):
        store.remove([address])
    with pytest.raises(ValueError, match="unsafe"):
        store.put(address, b"x")


NAMES = st.text(st.sampled_from([*string.ascii_letters[:3], *"./-_~\\\n\0 ", "é"]), max_size=12)


@given(folder=NAMES)
@example(folder="a/..")
def test_every_name_is_refused_or_stays_inside(folder: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.getbasetemp() / "names"
    store = ModelStore(str(outside / "store"))
    try:
        stored = store.put(folder, b"x")
    except ValueError:
        return
    assert [file for file in outside.rglob("*") if file.is_file()] == [outside / "store" / stored.address]
    assert store.get(stored) == b"x"
    store.remove([stored.address])


def test_no_symbolic_link_leads_out(store: ModelStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    stored = store.put("models/a", b"weights")
    secret = outside / stored.address.rpartition("/")[2]
    secret.write_bytes(b"weights")
    (tmp_path / "store" / "models" / "b").symlink_to(outside)
    through = stored.model_copy(update={"address": stored.address.replace("/a/", "/b/")})
    for attempt in (
        lambda: store.get(through),
        lambda: store.put("models/b", b"x"),
        lambda: store.remove([through.address]),
        lambda: store.files("models/b"),
    ):
        with pytest.raises(ValueError, match="symbolic link"):
            attempt()
    file = tmp_path / "store" / stored.address
    file.unlink()
    file.symlink_to(secret)
    with pytest.raises(ValueError, match="symbolic link"):
        store.get(stored)
    assert store.keep_newest("models/a", 0) == 0
    assert secret.read_bytes() == b"weights"


def test_the_newest_are_kept(store: ModelStore, tmp_path: Path) -> None:
    stored = [store.put(FOLDER, bytes([n])) for n in range(6)]
    for age, item in enumerate(stored):
        os.utime(tmp_path / "store" / item.address, (1000 + age, 1000 + age))
    assert store.keep_newest(FOLDER, 2, keep=[stored[0].address]) == 3
    left = [item for item in stored if (tmp_path / "store" / item.address).exists()]
    assert left == [stored[0], stored[4], stored[5]]
    assert store.keep_newest("dreams/nobody", 2) == 0


def test_a_file_too_large_is_not_even_fetched(store: ModelStore, tmp_path: Path) -> None:
    stored = store.put(FOLDER, b"weights" * 1000)
    small = ModelStore(str(tmp_path / "store"), most_bytes=1024)
    (tmp_path / "store" / stored.address).unlink()
    with pytest.raises(CorruptObject, match="PTZ_MODEL_STORE_MOST_BYTES"):
        small.get(stored)
    with pytest.raises(UserError, match="PTZ_MODEL_STORE_MOST_BYTES"):
        small.put(FOLDER, b"weights" * 1000)


WRITER = """
import sys
from shared.store.model_store import ModelStore
store = ModelStore(sys.argv[1])
print("ready", flush=True)
while True:
    store.put("dreams/wm", bytes(64 * 2**20))
"""


def test_a_writer_that_is_killed_leaves_no_file_to_see(store: ModelStore, tmp_path: Path) -> None:
    folder = tmp_path / "store" / "dreams" / "wm"
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path / "store")], cwd=REPOSITORY)
    try:
        wait_for(lambda: folder.is_dir() and any(file.stat().st_size for file in folder.glob(".part-*")))
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    left = list(folder.glob(".part-*"))
    for file in store.files(FOLDER):
        assert file.size == 64 * 2**20, "what is visible is whole"
    for part in left:
        os.utime(part, (1000, 1000))
    store.drop_unfinished(FOLDER)
    assert not list(folder.glob(".part-*"))


def test_two_writers_of_the_same_file_both_succeed(store: ModelStore) -> None:
    data = os.urandom(4 * 2**20)
    stored: list[Checkpoint] = []
    threads = [threading.Thread(target=lambda: stored.append(store.put(FOLDER, data))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stored) == 4
    assert len(set(stored)) == 1
    assert store.get(stored[0]) == data
    assert len(store.files(FOLDER)) == 1


def test_a_damaged_file_is_mended_by_storing_it_again(store: ModelStore, tmp_path: Path) -> None:
    stored = store.put(FOLDER, b"weights")
    (tmp_path / "store" / stored.address).write_bytes(b"weighty")
    assert store.get(store.put(FOLDER, b"weights")) == b"weights"


def test_storing_again_makes_a_file_young(store: ModelStore, tmp_path: Path) -> None:
    stored = store.put(FOLDER, b"weights")
    os.utime(tmp_path / "store" / stored.address, (1000, 1000))
    assert store.put(FOLDER, b"weights") == stored
    assert store.files(FOLDER)[0].written > 1_000_000, "a sweep would else take it before its commit"


def test_leftovers_of_the_dead_are_bounded(store: ModelStore, tmp_path: Path) -> None:
    folder = tmp_path / "store" / "dreams" / "wm"
    folder.mkdir(parents=True)
    stored = store.put(FOLDER, b"weights")
    leftover, busy = folder / ".part-old", folder / ".part-new"
    leftover.write_bytes(b"wei")
    busy.write_bytes(b"wei")
    os.utime(leftover, (1000, 1000))
    store.keep_newest(FOLDER, 1)
    assert not leftover.exists()
    assert busy.exists(), "somebody may be writing it"
    assert store.get(stored) == b"weights", "a temporary file does not count as one of the newest"


def test_a_place_that_can_not_be_written_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="PTZ_MODEL_STORE"):
        ModelStore(str(tmp_path / "file" / "store"))


@pytest.mark.parametrize(
    "root",
    ["nonsense://x", "sftp://user:hunter2@host/x", "s3://key:hunter2@bucket/x", "s3://bucket?secret=hunter2", "sftp://host"],
)  # fmt: skip
def test_a_wrong_address_is_the_users_error_and_keeps_its_secret(root: str) -> None:
    with pytest.raises(UserError, match="PTZ_MODEL_STORE") as caught:
        ModelStore(root)
    assert "hunter2" not in str(caught.value)


def test_credentials_come_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    monkeypatch.setenv("PTZ_MODEL_STORE_SECRET_KEY_FILE", str(tmp_path / "secret"))
    settings = ServiceSettings.from_environment(model_store=str(tmp_path / "store"))
    assert settings.model_store_secret_key is not None
    assert settings.model_store_secret_key.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(settings)
    ModelStore.from_settings(settings)


def test_no_space_is_the_users_error(store: ModelStore, tmp_path: Path) -> None:
    (tmp_path / "store" / "dreams").write_text("in the way")
    with pytest.raises(UserError, match="dreams/wm"):
        store.put(FOLDER, b"weights")
