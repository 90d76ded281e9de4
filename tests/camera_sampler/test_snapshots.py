from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from camera_sampler.snapshots import BadSnapshot, training_jpeg, verify
from tests.camera_sampler.test_panorama import png_that_claims


def encoded(width: int = 160, height: int = 90, kind: str = "JPEG", mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((width, height), 90).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


JPEG = encoded()


@pytest.mark.parametrize(
    "data",
    [
        JPEG,
        encoded(progressive=True),
        encoded(kind="PNG"),
        encoded(mode="L"),
        encoded(mode="CMYK"),
        encoded(kind="PNG", mode="RGBA"),
        JPEG + b"\0" * 100,
    ],
)
def test_sound_snapshots_pass_untouched(data: bytes) -> None:
    verified = verify(data, (160, 90))
    assert verified.data == data
    assert verified.image.mode == "RGB"
    assert verified.image.size == (160, 90)


def kind_of(data: bytes, size: tuple[int, int] | None = (160, 90)) -> str:
    with pytest.raises(BadSnapshot) as error:
        verify(data, size)
    assert str(error.value)
    return error.value.kind


def test_what_cameras_really_send_when_they_fail() -> None:
    assert kind_of(b"") == "empty"
    assert kind_of(b"<html><body>401 Unauthorized</body></html>") == "not-an-image"
    assert kind_of(b"NG\r\nError Code: 600\r\n") == "not-an-image"
    assert kind_of(encoded(kind="GIF")) == "not-an-image"
    assert kind_of(JPEG[: len(JPEG) // 2]) == "truncated"
    assert kind_of(JPEG[:-2]) == "truncated"
    assert kind_of(JPEG[:12]) == "truncated"
    assert kind_of(encoded(kind="PNG")[:3000]) in ("truncated", "corrupt")
    assert kind_of(encoded(80, 45)) == "wrong-size"
    assert kind_of(png_that_claims(60000, 30000)) == "bomb"
    assert kind_of(png_that_claims(9000, 9000)) == "bomb"
    assert kind_of(png_that_claims(12000, 9000), None) == "bomb"
    assert kind_of(b"\0" * 64_000_001) == "bomb"


def test_any_size_passes_where_none_is_asked_for() -> None:
    assert verify(encoded(33, 21)).image.size == (33, 21)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(JPEG) - 1))
def test_no_beginning_of_a_jpeg_passes(length: int) -> None:
    with pytest.raises(BadSnapshot):
        verify(JPEG[:length], (160, 90))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.sampled_from([b"", JPEG[:2], JPEG[:200], b"\x89PNG\r\n\x1a\n"]))
def test_garbage_is_refused_not_crashed_on(garbage: bytes, beginning: bytes) -> None:
    with pytest.raises(BadSnapshot):
        verify(beginning + garbage, (160, 90))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(JPEG) - 1), st.integers(0, 255))
def test_a_flipped_byte_is_refused_or_harmless(place: int, value: int) -> None:
    damaged = JPEG[:place] + bytes([value]) + JPEG[place + 1 :]
    with contextlib.suppress(BadSnapshot):
        assert verify(damaged, (160, 90)).image.size == (160, 90)


def test_training_views_are_the_whole_field_of_view() -> None:
    """Left is red and right is blue, before and after the squeeze."""
    picture = np.zeros((90, 160, 3), np.uint8)
    picture[:, :80, 0] = picture[:, 80:, 2] = 230
    small = Image.open(io.BytesIO(training_jpeg(Image.fromarray(picture), 64)))
    assert (small.format, small.size, small.mode) == ("JPEG", (64, 64), "RGB")
    pixels = np.asarray(small).astype(int)
    assert (pixels[:, :30, 0] > 200).all()
    assert (pixels[:, 34:, 2] > 200).all()


def test_training_views_do_not_alias() -> None:
    stripes = np.zeros((180, 320, 3), np.uint8)
    stripes[:, ::2] = 255
    small = np.asarray(Image.open(io.BytesIO(training_jpeg(Image.fromarray(stripes), 64)))).astype(int)
    # Rims apart, where the filter sees only one side, fine stripes become an even grey.
    assert np.ptp(small[:, 2:-2]) < 24
