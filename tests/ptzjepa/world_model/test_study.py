"""Means and deviations of a study, and its table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ptzjepa.world_model.scenes import Source
from ptzjepa.world_model.study import StudyOptions, check, describe_study, runs, summarise
from ptzjepa.world_model.tables import WIDTH
from shared.errors import UserError


def run(setting: str, scenes: str, seed: int, pan: float | None) -> dict[str, Any]:
    numbers = {"probe_r2": {"pan": pan}, "floors": {"probe_r2": {"random": {"pan": 0.25}}}}
    return {"setting": setting, "scenes": scenes, "seed": seed, "numbers": numbers, "card": {}}


def test_deviations_are_over_seeds_of_means_over_scenes() -> None:
    result = summarise(
        [
            run("vicreg", "city", 0, 0.5),
            run("vicreg", "park", 0, 0.9),
            run("vicreg", "city", 1, 0.6),
            run("vicreg", "park", 1, 1.0),
            run("random", "city", 0, None),
        ]
    )
    found = result["settings"]["vicreg"]
    assert found["all"]["probe_r2.pan"] == pytest.approx({"mean": 0.75, "deviation": 0.1 / 2**0.5, "seeds": 2})
    assert found["all"]["floors.probe_r2.random.pan"]["mean"] == 0.25
    assert found["scenes"]["park"]["probe_r2.pan"]["mean"] == pytest.approx(0.95)
    assert "probe_r2.pan" not in result["settings"]["random"]["all"], "what nobody measured has no mean"
    lines = list(describe_study(result))
    assert max(map(len, lines)) <= WIDTH
    assert any("probe_r2.pan" in line and "≥ 0.98" in line and "0.750 ± 0.071" in line for line in lines)


def test_every_setting_scene_and_seed_has_a_folder_of_its_own(tmp_path: Path) -> None:
    sources = (Source(Path("city.jpg")), Source(None))
    options = StudyOptions(sources, tmp_path, seeds=2, presets=("tiny", "small"), objectives=("a", "b+c"))
    planned = list(runs(options))
    assert len({each.options.out for each in planned}) == len(planned) == 16
    assert [each.seed for each in planned] == [0] * 8 + [1] * 8, "seed by seed"
    together = list(runs(StudyOptions(sources, tmp_path, seeds=3, together=True)))
    assert [(each.scenes, each.options.sources) for each in together] == [("together", sources)] * 3


def test_what_is_wrong_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    for options, words in (
        (StudyOptions((Source(None),), tmp_path, objectives=("vicreg+idm", "magic")), "--objective magic"),
        (StudyOptions((Source(None),), tmp_path, presets=("huge",)), "--preset huge"),
        (StudyOptions((Source(None),), tmp_path, transfer=(Source(None),)), "--transfer"),
        (StudyOptions((Source(Path("a/x.jpg")), Source(Path("b/x.jpg"))), tmp_path), "same name"),
        (StudyOptions((Source(tmp_path / "none.jpg"),), tmp_path), "none.jpg"),
    ):
        with pytest.raises(UserError, match=words):
            check(options)
    assert not list(tmp_path.iterdir())
