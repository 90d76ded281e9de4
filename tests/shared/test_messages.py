"""Every message survives the wire, whatever its values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.messages import ANY_MESSAGE, Checkpoint, Command, DreamBatch, Message, Surprise, TrainingProgress
from shared.streams import FIELD, Unreadable, decode

names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,62}", fullmatch=True)
finite = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(codec="utf-8"), max_size=64)

MESSAGES = st.one_of(
    st.builds(
        Surprise,
        camera=names,
        view=texts,
        world_model=names,
        world_model_version=st.integers(0, 2**53),
        error=st.floats(0, 1e30),
        copy_last_error=st.floats(0, 1e30),
        predicted=finite,
        source=texts,
    ),
    st.builds(TrainingProgress, learner=names, step=st.integers(0, 2**53), terms=st.dictionaries(texts, finite)),
    st.builds(
        DreamBatch,
        address=texts,
        sha256=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
        size=st.integers(1, 2**53),
        dreams=st.integers(1, 10**6),
        length=st.integers(1, 1000),
        camera=names,
        world_model=names,
        world_model_version=st.integers(1, 10**6),
        agent=names,
        policy_version=st.integers(0, 10**6),
    ),
)


@given(message=MESSAGES, blob=st.binary())
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_round_trip(message: Message, blob: bytes) -> None:
    received = decode(b"1-0", {FIELD: message.model_dump_json().encode(), b"blob": blob}, type(message))
    assert received.message == message
    assert received.blobs == {"blob": blob}


@given(data=st.binary())
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_nonsense_is_unreadable_and_nothing_worse(data: bytes) -> None:
    for kind in ANY_MESSAGE:
        with pytest.raises(Unreadable):
            decode(b"1-0", {FIELD: data}, kind)


def test_another_version_or_field_is_refused() -> None:
    good = TrainingProgress(learner="wm", step=0, terms={})
    for change in ({"schema_version": 2}, {"surplus": 1}, {"kind": "view"}, {"id": "short"}, {"terms": {"x": "nan"}}):
        with pytest.raises(ValidationError):
            TrainingProgress.model_validate({**good.model_dump(), **change})


def test_messages_are_frozen_and_named_apart() -> None:
    message = TrainingProgress(learner="wm", step=0, terms={})
    with pytest.raises(ValidationError):
        message.step = 1  # type: ignore[misc]
    assert len({kind.model_fields["kind"].default for kind in ANY_MESSAGE}) == len(ANY_MESSAGE)
    assert message.id != TrainingProgress(learner="wm", step=0, terms={}).id


def test_a_command_needs_a_token() -> None:
    with pytest.raises(ValidationError):
        Command.model_validate({"camera": "north", "answers": "x", "agent": "ag", "policy_version": 0, "token": 0})


def test_a_checkpoint_describes_its_bytes() -> None:
    assert Checkpoint.of("a", b"x").size == 1
    assert Checkpoint.of("a", b"x").sha256 != Checkpoint.of("a", b"y").sha256
