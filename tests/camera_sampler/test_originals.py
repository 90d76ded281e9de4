from __future__ import annotations

import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from camera_sampler.embedding import embed
from camera_sampler.naming import SIDECAR, Naming
from camera_sampler.originals import SCHEMA, Originals
from camera_sampler.snapshots import verify
from shared.actions import DEFAULT_ACTIONS
from shared.errors import UserError
from shared.messages import View
from shared.pose import Pose, PoseLimits
from tests.camera_sampler.test_snapshots import JPEG, encoded
from tests.support import REPOSITORY, until

NOW = datetime(2026, 5, 17, 12, 30, 1, 250_000, tzinfo=UTC)
NAMINGS: tuple[Naming, ...] = ("own", "ptzjepa")


def view(number: int = 0, **changes: object) -> View:
    values = {
        "id": f"{number:032x}",
        "camera": "camera-0",
        "pose": Pose(pan=-170.0 + number, tilt=5.25, zoom=1.5),
        "pose_before": Pose(pan=-170.0 + number, tilt=5.26, zoom=1.5),
        "captured_at": NOW + timedelta(seconds=number),
        "episode": "e" * 32,
        "step": 1,
        "previous": "f" * 32,
        "action": DEFAULT_ACTIONS[2],
        "limits": PoseLimits(),
        "policy": "random-walk",
        "width": 64,
        "height": 64,
    }
    return View.model_validate({**values, **changes})


def listing(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def pairs(*names: str) -> list[str]:
    return sorted([*names, *(name + SIDECAR for name in names)])


@pytest.mark.parametrize("naming", NAMINGS)
def test_originals_are_kept_untouched_and_bounded(tmp_path: Path, naming: Naming) -> None:
    directory = tmp_path / "originals"
    originals = Originals(directory, 3, naming=naming)
    names = [originals.keep(view(number), JPEG) for number in range(5)]
    assert listing(directory) == pairs(*names[2:])
    assert (directory / names[-1]).read_bytes() == JPEG
    expected = {
        "own": f"20260517T123005.250000Z-{4:032x}.jpg",
        "ptzjepa": "-166.0,5.25,1.5_2026-05-17_12:30:05.250000.jpg",
    }
    assert names[-1] == expected[naming]


@pytest.mark.parametrize("embedded", [False, True])
def test_the_sidecar_tells_all(tmp_path: Path, embedded: bool) -> None:
    name = Originals(tmp_path, 3, embedded=embedded).keep(view(), JPEG, "stream", "hanwha")
    kept, told = (tmp_path / name).read_bytes(), json.loads((tmp_path / (name + SIDECAR)).read_bytes())
    assert told["sha256"] == hashlib.sha256(kept).hexdigest()
    assert told["snapshot_sha256"] == hashlib.sha256(JPEG).hexdigest()
    assert told["bytes"] == len(kept)
    assert (kept == JPEG) is not embedded
    assert {key: told[key] for key in ("schema", "view", "brand", "origin", "camera", "step", "settled")} == {
        "schema": SCHEMA, "view": view().id, "brand": "hanwha", "origin": "stream", "camera": "camera-0", "step": 1,
        "settled": True,
    }  # fmt: skip
    assert (told["pose"], told["pose_before"]) == (view().pose.model_dump(), view().pose_before.model_dump())
    assert datetime.fromisoformat(told["captured_at"]) == NOW
    assert told["action"]["name"] == DEFAULT_ACTIONS[2].name


def test_what_is_embedded_is_what_the_sidecar_tells(tmp_path: Path) -> None:
    name = Originals(tmp_path, 3, embedded=True).keep(view(), JPEG)
    told = json.loads((tmp_path / (name + SIDECAR)).read_bytes())
    del told["sha256"], told["bytes"]
    assert (tmp_path / name).read_bytes() == embed(JPEG, told, NOW)


def test_two_pictures_of_one_pose_and_microsecond_are_both_kept(tmp_path: Path) -> None:
    originals = Originals(tmp_path, 10, naming="ptzjepa")
    same = [view(0, id=f"{number:032x}") for number in range(3)]
    pictures = [encoded(), encoded(), encoded()]
    names = [originals.keep(one, data) for one, data in zip(same, pictures, strict=True)]
    assert len(set(names)) == 3
    assert [(tmp_path / name).read_bytes() for name in names] == pictures
    told = [json.loads((tmp_path / (name + SIDECAR)).read_bytes()) for name in names]
    assert {datetime.fromisoformat(each["captured_at"]) for each in told} == {NOW}


def test_a_restart_goes_on_dropping_the_oldest_whatever_their_names(tmp_path: Path) -> None:
    namings: list[Naming] = ["own", "ptzjepa", "own", "ptzjepa"]
    names = [
        Originals(tmp_path, 2, naming=naming).keep(view(number), encoded(kind="PNG"))
        for number, naming in enumerate(namings)
    ]
    assert names[3].endswith(".png")
    assert listing(tmp_path) == pairs(*names[2:])


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    foreign = ["notes.txt", "photo.jpg.json", "9.0,2.0,3.0_2024-06-21_04:51:47.jpg.json"]
    foreign.append("1.0,2.0,3.0_2024-06-21_04:51:47.291323.jpg")
    for name in foreign:
        (tmp_path / name).write_text("{}")
    old = f"20240517T123005.250000Z-{'a' * 32}.jpg"
    (tmp_path / old).write_bytes(JPEG)  # as kept before there were sidecars
    names = [Originals(tmp_path, 2, naming="ptzjepa").keep(view(number), JPEG) for number in range(3)]
    assert listing(tmp_path) == sorted([*foreign, *pairs(*names[1:])])


def test_a_start_removes_what_a_crash_left(tmp_path: Path) -> None:
    name = Originals(tmp_path, 5).keep(view(), JPEG)
    lone = Originals(tmp_path, 5, naming="ptzjepa").keep(view(1), JPEG)
    (tmp_path / lone).unlink()
    (tmp_path / ".part").write_bytes(JPEG[:50])
    Originals(tmp_path, 5)
    assert listing(tmp_path) == pairs(name)


def test_a_kill_leaves_no_picture_without_its_sidecar(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; import sys\n"
        "from camera_sampler.originals import Originals\n"
        "from tests.camera_sampler.test_originals import JPEG, view\n"
        "originals = Originals(Path(sys.argv[1]), 8, naming='ptzjepa')\n"
        "for number in range(10**9): originals.keep(view(number), JPEG)\n"
    )
    for _ in range(3):
        seen = set(listing(tmp_path))
        with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=REPOSITORY) as process:
            try:
                until(lambda seen=seen: len(set(listing(tmp_path)) - seen) >= 3)
            finally:
                process.send_signal(signal.SIGKILL)
        left = {name for name in listing(tmp_path) if name != ".part"}
        assert all(name + SIDECAR in left for name in left if name.endswith(".jpg"))
        Originals(tmp_path, 8)
        names = [name for name in listing(tmp_path) if name.endswith(".jpg")]
        assert listing(tmp_path) == pairs(*names)
        assert len(names) <= 9
        assert all(verify((tmp_path / name).read_bytes()) for name in names)


def test_a_place_that_cannot_be_written_is_the_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="PTZ_KEEP_ORIGINALS"):
        Originals(tmp_path / "file" / "originals", 3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_place_is_the_users_error(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(UserError, match="PTZ_KEEP_ORIGINALS"):
        Originals(tmp_path, 3)


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    originals = Originals(tmp_path / "gone", 3)
    (tmp_path / "gone").rmdir()
    with pytest.raises(OSError, match="No such file"):
        originals.keep(view(), JPEG)
    assert not list(tmp_path.iterdir())
