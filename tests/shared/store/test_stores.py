"""The same promises from every kind of store: a directory, a real SFTP server, a real S3 server."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.errors import UserError
from shared.messages import Checkpoint
from shared.store import files as store_files
from shared.store.model_store import CorruptObject, MissingObject, ModelStore, StoreAccess, StoreAway
from tests.shared.store.store_servers import Link, StoreServer, s3_server, sftp_server

FOLDER = "world-models/wm_00_00"
LARGE = os.urandom(20 * 2**20)


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with sftp_server(tmp_path_factory.mktemp("sftp")) as server:
        yield server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture(params=["directory", "sftp", "s3"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> StoreServer:
    if request.param == "directory":
        link = Link(0)
        link.close()
        return StoreServer(str(tmp_path), StoreAccess(), link, tmp_path)
    found: StoreServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture(params=["sftp", "s3"])
def remote(request: pytest.FixtureRequest) -> Iterator[StoreServer]:
    found: StoreServer = request.getfixturevalue(request.param)
    yield found
    found.link.down = False
    found.link.cut_after.clear()


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> str:
    """A folder of the test's own: the servers outlive it."""
    return f"{FOLDER}/{abs(hash(request.node.nodeid))}"


def test_what_is_put_can_be_got_listed_and_removed(server: StoreServer, folder: str) -> None:
    store = server.store()
    assert store.files(folder) == []
    stored = store.put(folder, b"weights")
    assert stored.address == f"{folder}/{stored.sha256}.safetensors"
    assert store.get(stored) == b"weights"
    assert store.put(folder, b"weights") == stored
    assert [(file.address, file.size) for file in store.files(folder)] == [(stored.address, 7)]
    assert server.store().get(stored) == b"weights", "another process reads it"
    assert store.remove([stored.address]) == 1
    store.remove([stored.address])  # already gone is fine
    assert store.files(folder) == []
    with pytest.raises(MissingObject):
        store.get(stored)


def test_what_differs_is_not_returned(server: StoreServer, folder: str) -> None:
    store = server.store()
    stored = store.put(folder, b"weights")
    with pytest.raises(CorruptObject, match="size"):
        store.get(stored.model_copy(update={"size": 8}))
    with pytest.raises(CorruptObject, match="SHA-256"):
        store.get(stored.model_copy(update={"sha256": "0" * 64}))
    with pytest.raises(CorruptObject, match="MOST_BYTES"):
        server.store(most_bytes=3).get(stored)


def test_the_newest_are_kept(server: StoreServer, folder: str) -> None:
    store = server.store()
    stored = [store.put(folder, bytes([n])) for n in range(3)]
    assert store.keep_newest(folder, 3) == 0
    assert store.keep_newest(folder, 1, keep=[item.address for item in stored]) == 0
    assert store.keep_newest(folder, 1) == 2


def test_two_writers_of_the_same_file_both_succeed(server: StoreServer, folder: str) -> None:
    stored: list[Checkpoint] = []
    stores = [server.store() for _ in range(2)]
    threads = [threading.Thread(target=lambda s=store: stored.append(s.put(folder, LARGE))) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(stored) == 2
    assert stored[0] == stored[1]
    whole = stores[0].get(stored[0]) == LARGE  # a difference of this size is not for pytest to explain
    assert whole
    assert [file.size for file in stores[0].files(folder)] == [len(LARGE)]


def test_a_transfer_goes_on_where_the_link_broke(remote: StoreServer, folder: str) -> None:
    store = remote.store()
    cuts = remote.link.cuts
    remote.link.cut_after = [2 * 2**20, 9 * 2**20, 5 * 2**20]
    stored = store.put(folder, LARGE)
    assert remote.link.cuts > cuts, "the link broke on the way"
    whole = store.get(stored) == LARGE
    assert whole
    assert [file.size for file in store.files(folder)] == [len(LARGE)]


def test_half_an_upload_is_never_seen_and_cleared_away(
    remote: StoreServer, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_files, "ATTEMPTS", 2)
    store = remote.store()
    store.put(folder, b"already here")  # the connection stands
    remote.link.cut_after = [10 * 2**20]
    watch = threading.Thread(target=lambda: _go_down_at_the_cut(remote.link, remote.link.cuts))
    watch.start()
    with pytest.raises((StoreAway, UserError), match="does not answer"):
        store.put(folder, LARGE)
    watch.join()
    remote.link.down = False
    described = Checkpoint.of("x", LARGE)
    stored = described.model_copy(update={"address": f"{folder}/{described.sha256}.safetensors"})
    reader = remote.store()
    with pytest.raises(MissingObject):
        reader.get(stored)
    assert [file.size for file in reader.files(folder)] == [12]
    assert _unfinished(reader, remote, folder), "something was left behind"
    monkeypatch.setattr("shared.store.model_store.TEMPORARY_SECONDS", -3600.0)
    reader.drop_unfinished(folder)
    assert not _unfinished(reader, remote, folder)
    assert [file.size for file in reader.files(folder)] == [12]


def _go_down_at_the_cut(link: Link, before: int) -> None:
    while link.cuts == before:
        threading.Event().wait(0.0005)
    link.down = True
    link.cut()


def _unfinished(store: ModelStore, server: StoreServer, folder: str) -> list[str]:
    if server.root.startswith("sftp"):
        return [str(path) for path in (server.directory / folder).glob(".part-*")]
    uploads = store._files._over_link("list", lambda fs: fs.list_multipart_uploads("models"))  # type: ignore[attr-defined]
    return [str(upload["Key"]) for upload in uploads]


def test_a_server_that_is_away_is_named_without_its_secrets(
    remote: StoreServer, folder: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(store_files, "ATTEMPTS", 2)
    remote.link.down = True
    with pytest.raises(StoreAway, match="does not answer") as caught:
        remote.store().put(folder, b"weights")
    output = capfd.readouterr()
    for secret in (remote.access.secret_key, remote.access.private_key):
        if secret is not None:
            assert secret.get_secret_value() not in str(caught.value) + output.out + output.err


def test_an_unknown_host_is_not_trusted(sftp: StoreServer, tmp_path: Path) -> None:
    nobody = tmp_path / "known_hosts"
    nobody.write_text("")
    access = StoreAccess(private_key=sftp.access.private_key, known_hosts=nobody)
    store = ModelStore(sftp.root.format(port=sftp.link.port), access)
    with pytest.raises(UserError, match="PTZ_MODEL_STORE_KNOWN_HOSTS"):
        store.files(FOLDER)
    with pytest.raises(UserError, match="PTZ_MODEL_STORE_KNOWN_HOSTS"):
        ModelStore("sftp://someone@127.0.0.1/models", StoreAccess(known_hosts=tmp_path / "none"))


def test_a_wrong_key_is_the_users_error(sftp: StoreServer) -> None:
    asyncssh = pytest.importorskip("asyncssh")
    from pydantic import SecretStr

    other = SecretStr(asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode())
    url = sftp.root.format(port=sftp.link.port)
    with pytest.raises(UserError, match="model store"):
        ModelStore(url, StoreAccess(private_key=other, known_hosts=sftp.access.known_hosts)).files(FOLDER)
    garbage = StoreAccess(private_key=SecretStr("hunter2"), known_hosts=sftp.access.known_hosts)
    with pytest.raises(UserError, match="PTZ_MODEL_STORE_PRIVATE_KEY") as caught:
        ModelStore(url, garbage).files(FOLDER)
    assert "hunter2" not in str(caught.value)
