"""PTZJEPA's files out of the registry: field by field, and as the file's own reader takes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml

from lock_broker.export import TIME_FORMAT, model_info, progress_names
from shared.leases import DataSpan, Lineage, ModelVersion, Parent
from shared.messages import Checkpoint

BEGIN = datetime(2024, 6, 21, 4, 51, 47, 291323, UTC)


def made(model: str, number: int, hour: float, token: int, lineage: Lineage, **changes: Any) -> ModelVersion:
    return ModelVersion(
        model=model,
        version=number,
        token=token,
        committed_at=BEGIN + timedelta(hours=hour),
        checkpoint=Checkpoint.of("x/y", b"1"),
        lineage=lineage,
        **{"card": {"seconds": 1800.0}, **changes},
    )


def lineage(restart: int, *parents: tuple[str, int], views: int = 0) -> Lineage:
    end = BEGIN + timedelta(hours=restart)
    spans = [DataSpan(camera="north", first=BEGIN, last=end, views=views)] if views else []
    named = [Parent(model=model, version=version) for model, version in parents]
    return Lineage(generation=0, restart=restart, parents=named, data=spans)


WM = [
    made("wm_00_03", 1, 1, 1, lineage(0, views=420)),
    made("wm_00_03", 2, 2, 1, lineage(0, ("wm_00_03", 1), views=840)),
    made("wm_00_03", 3, 5, 4, lineage(1, ("wm_00_03", 2), ("ag_00_01", 1), views=100)),
    made("wm_00_03", 4, 6, 9, lineage(0), restores=1),
]
AG = [made("ag_00_01", 1, 3, 1, lineage(0, ("wm_00_03", 2)), card={"dreams": 320})]
MODELS = {"wm_00_03": WM, "ag_00_01": AG, "mine": [made("mine", 1, 4, 1, lineage(0))]}

PROGRESS = """\
Start lifelong learning @ 2024-06-21_05:21:47.291323
wm_00_03 @ 2024-06-21_06:51:47.291323
ag_00_01 @ 2024-06-21_07:51:47.291323
wm_00_03 @ 2024-06-21_09:51:47.291323
"""
INFO = """\
model_gen: 0
model_id: 3
model_name: wm_00_03
model_type: wm
num_restart: 1
restart_00:
  images:
    num_images: 840
    start_end:
    - 2024-06-21_04:51:47.291323
    - 2024-06-21_04:51:47.291323
  parent_model: null
  parent_model_restart: null
  train:
    num_dreams: null
    num_epochs: 2
    start_end:
    - 2024-06-21_05:21:47.291323
    - 2024-06-21_06:51:47.291323
restart_01:
  images:
    num_images: 100
    start_end:
    - 2024-06-21_04:51:47.291323
    - 2024-06-21_05:51:47.291323
  parent_model: ag_00_01
  parent_model_restart: 0
  train:
    num_dreams: null
    num_epochs: 1
    start_end:
    - 2024-06-21_09:21:47.291323
    - 2024-06-21_09:51:47.291323
"""
AGENT_INFO = """\
model_gen: 0
model_id: 1
model_name: ag_00_01
model_type: ag
num_restart: 0
restart_00:
  images: {}
  parent_model: wm_00_03
  parent_model_restart: 0
  train:
    num_dreams: 320
    num_epochs: 1
    start_end:
    - 2024-06-21_07:51:47.291323
    - 2024-06-21_07:51:47.291323
"""


def test_the_files_are_as_ptzjepa_writes_them() -> None:
    assert progress_names(MODELS) == PROGRESS
    assert model_info("wm_00_03", MODELS) == INFO
    assert model_info("ag_00_01", MODELS) == AGENT_INFO


def test_they_read_back_as_ptzjepa_reads_them() -> None:
    names, times = zip(*(map(str.strip, line.split("@")) for line in PROGRESS.splitlines()), strict=True)
    assert names == ("Start lifelong learning", "wm_00_03", "ag_00_01", "wm_00_03")
    read = yaml.safe_load(model_info("wm_00_03", MODELS))
    stamps = [*times, *read["restart_00"]["images"]["start_end"], *read["restart_01"]["train"]["start_end"]]
    for stamp in stamps:
        assert datetime.strptime(stamp, TIME_FORMAT).replace(tzinfo=UTC) >= BEGIN
    assert {key for key in read if key.startswith("restart_")} == {
        f"restart_{number:0>2}" for number in range(read["num_restart"] + 1)
    }


def test_what_ptzjepa_has_no_place_for_is_left_out() -> None:
    assert progress_names({}) == ""
    assert progress_names({"mine": MODELS["mine"]}) == ""
    with pytest.raises(ValueError, match="names like"):
        model_info("mine", MODELS)
    forgotten = {"wm_00_03": [WM[3]]}
    assert yaml.safe_load(model_info("wm_00_03", forgotten))["num_restart"] == -1
    alone = yaml.safe_load(model_info("wm_00_03", {"wm_00_03": WM}))
    assert alone["restart_01"]["parent_model"] == "ag_00_01"
    assert alone["restart_01"]["parent_model_restart"] is None, "the agent is not known (any more)"
