"""Stored pictures as a camera: where it goes, what it shows, what it reads, and a sampler that looks through it."""

from __future__ import annotations

import functools
import io
import itertools
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet
from structlog.testing import capture_logs

from camera_sampler.access import Settled
from camera_sampler.cameras import open_camera
from camera_sampler.cameras.axis import ZoomSteps
from camera_sampler.cameras.stored import StoredCamera, reach_of
from camera_sampler.cameras.stored_index import Row, StoredIndex, read_index
from camera_sampler.naming import from_microseconds, ptzjepa_name, read_ptzjepa_name
from camera_sampler.originals import Originals
from camera_sampler.settings import SamplerSettings
from shared.actions import Action
from shared.errors import UserError
from shared.pose import Pose
from shared.redis_client import RedisClients
from tests.camera_sampler.sampling import at_least, fast, metric, running, views
from tests.camera_sampler.test_originals import view

NOW = datetime(2024, 6, 21, 4, 51, 47, 291_323, tzinfo=UTC)
Place = tuple[float, float, float]
ROW: tuple[Place, ...] = ((0.0, 0.0, 1.0), (10.0, 0.0, 1.0), (20.0, 0.0, 1.0), (20.0, 10.0, 2.0))
AROUND: tuple[Place, ...] = tuple((float(pan), tilt, 1.0) for pan in range(-180, 180, 20) for tilt in (-10.0, 10.0))


@functools.cache
def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((64, 36), 50.0 + number).save(buffer, "JPEG")
    return buffer.getvalue()


def stored(directory: Path, places: Iterable[Place]) -> list[Path]:
    directory.mkdir(exist_ok=True)
    paths = []
    for number, (pan, tilt, zoom) in enumerate(places):
        name = f"{pan},{tilt},{zoom}_{NOW + timedelta(seconds=number):%Y-%m-%d_%H:%M:%S.%f}.jpg"
        (directory / name).write_bytes(picture(number))
        paths.append(directory / name)
    return paths


def camera(directory: Path, places: Iterable[Place] = ROW, narrow: Settled | None = None) -> StoredCamera:
    stored(directory, places)
    return StoredCamera(read_index(directory), narrow)


async def at(opened: StoredCamera) -> Place:
    return (await opened.pose()).as_tuple()


async def test_goes_to_the_nearest_pose_and_shows_its_untouched_file(tmp_path: Path) -> None:
    paths = stored(tmp_path, ROW)
    opened = StoredCamera(read_index(tmp_path))
    for wanted, number in (((14.0, 3.0, 1.0), 1), ((19.0, 2.0, 1.1), 2), ((19.0, 9.0, 2.5), 3), ((-50.0, 0.0, 1.0), 0)):
        await opened.move_to(Pose(pan=wanted[0], tilt=wanted[1], zoom=wanted[2]))
        assert await at(opened) == ROW[number]
        snapshot = await opened.snapshot()
        assert snapshot.data == paths[number].read_bytes()
        assert snapshot.taken_at == NOW + timedelta(seconds=number)
        assert snapshot.origin == "recording"


async def test_pan_wraps_where_the_circle_is_covered(tmp_path: Path) -> None:
    opened = camera(tmp_path, AROUND)
    assert (await opened.limits()).full_circle
    await opened.move_to(Pose(pan=160.0, tilt=10.0))
    await opened.move_by(Action(name="right", pan=20.0))
    assert await at(opened) == (-180.0, 10.0, 1.0)
    await opened.move_by(Action(name="left", pan=-22.0))
    assert await at(opened) == (160.0, 10.0, 1.0)


async def test_a_move_to_nowhere_else_stays_and_shows_the_twins_in_turn(tmp_path: Path) -> None:
    opened = camera(tmp_path, [*ROW, ROW[0], ROW[0]])
    shown = []
    for _ in range(6):
        await opened.move_by(Action(name="short_right", pan=0.2))
        assert await at(opened) == ROW[0]
        shown.append((await opened.snapshot()).taken_at)
    assert len(set(shown[:3])) == 3
    assert shown[:3] == shown[3:]


async def test_broken_files_are_passed_over_and_said_once(tmp_path: Path) -> None:
    paths = stored(tmp_path, [*ROW, *((60.0 + number, 0.0, 1.0) for number in range(9))])
    for number, path in enumerate(paths[4:]):
        path.write_bytes((b"", b"<html>", picture(1)[:300])[number % 3])
    (tmp_path / "holiday.jpg").write_bytes(picture(1))
    (tmp_path / "notes.txt").write_text("not a picture")
    with capture_logs() as logs:
        opened = StoredCamera(read_index(tmp_path))
        paths[1].unlink()
        for pan in (70.0, 65.0, 10.0):
            await opened.move_to(Pose(pan=pan, tilt=0.0))
            assert await at(opened) != ROW[1]
    assert [entry["broken"] for entry in logs if "broken" in entry] == [1, 10]
    assert [(entry["skipped"], entry["left"]) for entry in logs if "skipped" in entry] == [(1, 13)]
    await opened.move_to(Pose(pan=70.0, tilt=0.0))
    assert await at(opened) == ROW[2]


def test_limits_are_what_is_stored(tmp_path: Path) -> None:
    index = read_index(stored(tmp_path, ROW)[0].parent)
    limits = reach_of(index.pan, index.tilt, index.zoom)
    assert (limits.pan_min, limits.pan_max, limits.tilt_min, limits.tilt_max, limits.zoom_max) == (0, 20, 0, 10, 2)
    assert not limits.full_circle


async def test_settings_narrow_the_choice(tmp_path: Path) -> None:
    opened = camera(tmp_path, narrow=Settled(pan_max=12.0, zoom_max=1.5))
    assert (await opened.limits()).pan_max == 12.0
    await opened.move_to(Pose(pan=20.0, tilt=10.0, zoom=2.0))
    assert await at(opened) == ROW[1]
    with pytest.raises(UserError, match="leave none"):
        StoredCamera(read_index(tmp_path), Settled(pan_min=1.0, pan_max=9.0))


async def test_a_limit_at_half_a_turn_keeps_its_picture(tmp_path: Path) -> None:
    opened = camera(tmp_path, AROUND, Settled(pan_min=100.0, pan_max=180.0))
    await opened.move_to(Pose(pan=180.0, tilt=10.0))
    assert await at(opened) == (-180.0, 10.0, 1.0)
    await opened.move_by(Action(name="on", pan=20.0))
    assert await at(opened) == (-180.0, 10.0, 1.0)
    await opened.move_by(Action(name="back", pan=-20.0))
    assert await at(opened) == (160.0, 10.0, 1.0)


@given(st.lists(st.tuples(st.floats(-180, 179.99), st.floats(-90, 90), st.floats(1, 40)), min_size=1, max_size=40))
def test_limits_hold_every_picture_and_only_a_covered_circle_is_whole(places: list[Place]) -> None:
    rows = (Row(str(number), *place, number) for number, place in enumerate(places))
    index = StoredIndex(rows, Path(), "guess", ZoomSteps())
    limits = reach_of(index.pan, index.tilt, index.zoom)
    for place in places:
        assert limits.reach(*place).degrees_to(Pose(pan=place[0], tilt=place[1])) < 1e-6
    around = sorted(place[0] for place in places)
    widest = max(after - before for before, after in itertools.pairwise([*around, around[0] + 360.0]))
    assert limits.full_circle == (widest <= 30.0)


@given(st.floats(-180, 179), st.floats(-90, 90), st.floats(1, 40), st.integers(0, 250_000_000_000_000_000))
def test_reads_back_the_names_that_originals_give(pan: float, tilt: float, zoom: float, micros: int) -> None:
    pose, moment = Pose(pan=pan, tilt=tilt, zoom=zoom), from_microseconds(micros)
    name = ptzjepa_name(pose, moment)
    label = read_ptzjepa_name(name)
    assert label is not None
    index = StoredIndex(iter([Row(name, *label)]), Path("dir"), "magnification", ZoomSteps())
    read = Pose(pan=float(index.pan[0]), tilt=float(index.tilt[0]), zoom=float(index.zoom[0]))
    # Wrapping may cost the last digit.
    assert read.degrees_to(pose) < 1e-9
    assert (read.tilt, read.zoom) == (tilt, zoom)
    assert index.path(0) == Path("dir") / name


@pytest.mark.parametrize("naming", ["own", "ptzjepa"])
async def test_reads_what_the_sampler_kept(tmp_path: Path, naming: str) -> None:
    originals = Originals(tmp_path, 10, naming=naming)  # type: ignore[arg-type]
    kept = [view(number) for number in range(3)]
    for number, one in enumerate(kept):
        originals.keep(one, picture(number))
    opened = StoredCamera(read_index(tmp_path))
    for number, one in enumerate(kept):
        await opened.move_to(one.pose)
        assert await opened.pose() == one.pose
        snapshot = await opened.snapshot()
        assert (snapshot.data, snapshot.taken_at) == (picture(number), one.captured_at)


def test_a_head_past_its_pole_looks_at_the_other_side(tmp_path: Path) -> None:
    stored(tmp_path, [(99.99, -92.39, 232.0), (350.0, 0.0, 1.0), (0.0, 0.0, 9999.0)])
    index = read_index(tmp_path, magnification=32.0)
    assert index.units == "steps"
    assert [round(float(value), 2) for value in index.pan] == [-80.01, -10.0, 0.0]
    assert [round(float(value), 2) for value in index.tilt] == [-87.61, 0.0, 0.0]
    assert index.zoom[0] == pytest.approx(1.0 + 231.0 / 9998.0 * 31.0)
    assert list(index.zoom[1:]) == [1.0, 32.0]


@pytest.mark.parametrize(("units", "zoom"), [("guess", 40.0), ("magnification", 40.0), ("steps", 1.0 + 39 / 9998 * 31)])
def test_the_zooms_units(tmp_path: Path, units: str, zoom: float) -> None:
    stored(tmp_path, [(0.0, 0.0, 40.0)])
    with capture_logs() as logs:
        index = read_index(tmp_path, units, 32.0)  # type: ignore[arg-type]
    assert index.zoom[0] == pytest.approx(zoom)
    assert [entry["zoom_guessed"] for entry in logs] == [units == "guess"]


TIMES = (
    "2024-06-21T04:51:47.291323+00:00",
    "2024-06-21 04:51:47.291323",
    "2024-06-20T23:51:47.291323-05:00",
    NOW.timestamp(),
)


def index_rows(directory: Path) -> list[dict[str, object]]:
    paths = stored(directory / "pictures", ROW)
    return [
        {"path": f"pictures/{path.name}", "pan": pan, "tilt": tilt, "zoom": zoom, "captured_at": time, "camera": "roof"}
        for path, (pan, tilt, zoom), time in zip(paths, ROW, TIMES, strict=True)
    ]


def test_an_index_of_json_lines(tmp_path: Path) -> None:
    rows: list[object] = [*index_rows(tmp_path), {**index_rows(tmp_path)[0], "zoom": None}]
    rows += [{"path": "x.jpg"}, ["no row"], {"path": "x", "pan": "east"}]
    index_file = tmp_path / "index.jsonl"
    index_file.write_text("\n\n".join([*map(json.dumps, rows), "{broken"]) + "\n")
    index = read_index(index_file)
    assert (len(index), index.skipped) == (4, 5)
    assert set(index.microseconds) == {1_718_945_507_291_323}
    assert all(index.path(number).is_file() for number in range(4))
    StoredCamera(index)


@pytest.mark.parametrize("typed", [False, True])
def test_an_index_in_parquet(tmp_path: Path, typed: bool) -> None:
    rows = index_rows(tmp_path)
    for row in rows:
        row["captured_at"] = NOW if typed else TIMES[1]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "index.parquet")
    index = read_index(tmp_path / "index.parquet")
    assert sorted(map(float, index.pan)) == sorted(place[0] for place in ROW)
    assert set(index.microseconds) == {1_718_945_507_291_323}
    StoredCamera(index)


def test_several_cameras_want_a_name(tmp_path: Path) -> None:
    rows = index_rows(tmp_path)
    rows[1]["camera"] = "yard"
    (tmp_path / "index.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UserError, match=r"several cameras \(roof, yard.*PTZ_STORED_CAMERA"):
        read_index(tmp_path / "index.jsonl")
    assert len(read_index(tmp_path / "index.jsonl", camera="roof")) == 3
    with pytest.raises(UserError, match="no pictures"):
        read_index(tmp_path / "index.jsonl", camera="cellar")


@pytest.mark.parametrize(
    ("path", "content", "words"),
    [
        ("gone", None, "does not exist"),
        ("notes.txt", b"words", "neither a directory nor an index"),
        ("index.jsonl", b"", "no pictures"),
        ("index.jsonl", b"\xff\xfe\x00", "no pictures in .*; 1 tell no pose"),
        ("index.parquet", b"PAR1", "no sound Parquet"),
        (".", None, "no pictures"),
    ],
)
def test_nothing_to_show_is_the_users_error(tmp_path: Path, path: str, content: bytes | None, words: str) -> None:
    if content is not None:
        (tmp_path / path).write_bytes(content)
    with pytest.raises(UserError, match=words):
        open_camera(SamplerSettings(camera_kind="stored", stored_images=tmp_path / path))


def test_pictures_that_are_all_broken_are_the_users_error(tmp_path: Path) -> None:
    for path in stored(tmp_path, ROW):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"PTZ_STORED_IMAGES: no sound picture.*4 are broken"):
        StoredCamera(read_index(tmp_path))
    with pytest.raises(UserError, match="needs PTZ_STORED_IMAGES"):
        SamplerSettings(camera_kind="stored")


async def test_the_sampler_looks_through_it(
    clients: RedisClients, sampler_settings: SamplerSettings, tmp_path: Path
) -> None:
    """Moves that lead nowhere, pictures of other sizes and times that go backwards are all as good as others."""
    paths = stored(tmp_path, AROUND)
    paths[3].write_bytes(picture(3)[:500])
    Image.effect_noise((128, 72), 90).save(paths[5], "JPEG")
    settings = fast(sampler_settings.redis_url, camera_kind="stored", stored_images=tmp_path)
    async with running(settings, clients, open_camera(settings)) as sampler:
        await at_least(clients, 60)
        rejected = sum(metric(sampler, "rejects_total", kind=kind) for kind in ("stale", "wrong-size", "truncated"))
        assert metric(sampler, "last_view_timestamp_seconds") > NOW.timestamp() + 86_400.0
    found = [item.message for item in await views(clients)]
    assert rejected == 0.0
    by_id = {one.id: one for one in found}
    assert len({one.pose for one in found}) > 3
    for one in found:
        assert one.settled
        assert one.pose.as_tuple() in AROUND
        assert NOW <= one.captured_at <= NOW + timedelta(minutes=1)
        if one.action is not None and one.previous in by_id:
            # The move on record is the one that was made.
            assert one.action.apply(by_id[one.previous].pose, one.limits) == one.pose


async def test_one_picture_is_a_camera_that_cannot_move(
    clients: RedisClients, sampler_settings: SamplerSettings, tmp_path: Path
) -> None:
    stored(tmp_path, ROW[:1])
    settings = fast(sampler_settings.redis_url, camera_kind="stored", stored_images=tmp_path)
    async with running(settings, clients, open_camera(settings)):
        found = await at_least(clients, 12)
    assert {item.message.pose.as_tuple() for item in found} == {ROW[0]}
