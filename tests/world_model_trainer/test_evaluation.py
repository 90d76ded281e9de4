"""The whole protocol on models whose answers are known: one that knows all, one that collapsed, an untrained one."""

from __future__ import annotations

import functools

import pytest
import torch

from ptzjepa.world_model.tables import WIDTH, describe
from ptzjepa.world_model.targets import TARGETS
from shared.world_model import WorldModel
from tests.world_model_trainer.knowing import CONFIG, SIZE, Constant, Knowing, spelt_place
from world_model_trainer.evaluation import evaluate_place, flatten, headline, overlay_loss
from world_model_trainer.evaluation.nuisance import Overlay
from world_model_trainer.evaluation.protocol import Measured


@functools.cache
def measured(model: type[WorldModel]) -> Measured:
    torch.manual_seed(3)
    torch.set_num_threads(1)
    subject = WorldModel(CONFIG) if model is WorldModel else model()  # type: ignore[call-arg]
    return evaluate_place(subject.eval().requires_grad_(False), spelt_place(), 0, mlp_steps=200)


def test_who_knows_all_scores_perfectly() -> None:
    found = measured(Knowing)
    for probe in ("linear", "mlp"):
        scores = found["probe"][probe]
        assert min(scores["pan"], scores["tilt"], scores["zoom"]) > (0.9999 if probe == "linear" else 0.95)
    assert found["probe"]["linear"]["degrees"] < 0.05
    assert found["probe"]["linear"]["fov_share"] < 0.001
    assert all(scores["pan"] > 0.999 for scores in found["probe"]["on_dreams"].values())
    assert found["probe"]["shuffled"]["pan"] < 0.1, "the control knows nothing"
    for floor in ("vs_copy_last", "vs_lookup"):
        assert all(0.0 <= ratio < 1e-6 for ratio in found["open_loop"][floor].values())
    assert found["open_loop"]["shuffled_action"] > 1e6
    assert found["retrieval"]["model"]["h1"] == 1.0
    assert found["retrieval"]["hard"]["model"]["h1"] == 1.0
    for loop in ("turn", "turn_off_on_the_way", "out_and_back", "zoom_in_and_out"):
        assert found["loops"][loop] == pytest.approx(0.0, abs=1e-3)
    assert found["spread"]["model"]["effective_rank"] == pytest.approx(4.0, abs=0.5), "four numbers, no more"


def test_floors_answer_as_they_must() -> None:
    found = measured(Knowing)
    assert found["views"]["lookup"] == 400
    assert 0.0 < found["open_loop"]["lookup_vs_copy_last"]["16"] < 0.5, "a look-up beats standing still, far away"
    assert found["loops"]["copy_last_off_on_the_way"] > found["loops"]["lookup_off_on_the_way"] > 0.0
    assert found["retrieval"]["copy_last"]["h1"] < 1.0
    assert list(found["open_loop"]["untrained_vs_copy_last"].values()) == pytest.approx([1.0] * 5, abs=1e-3)


def test_who_collapsed_knows_nothing_and_is_told_so() -> None:
    found = measured(Constant)
    for probe in ("linear", "mlp"):
        scores = found["probe"][probe]
        assert max(scores["pan"], scores["tilt"], scores["zoom"]) < 0.05
    assert found["spread"]["model"]["effective_rank"] == pytest.approx(1.0)
    assert found["retrieval"]["model"] == {"h1": 0.0, "h5": 0.0, "mrr": pytest.approx(1 / 48)}
    assert set(found["open_loop"]["vs_copy_last"].values()) == {None}, "nothing over nothing is no success"
    assert found["loops"]["turn"] is None
    assert found["nuisance"]["camera"]["embedding"] == pytest.approx(0.5, abs=0.02)


def test_the_untrained_one_is_copy_last_and_heeds_no_action() -> None:
    found = measured(WorldModel)
    assert list(found["open_loop"]["vs_copy_last"].values()) == pytest.approx([1.0] * 5, abs=1e-3)
    assert found["open_loop"]["shuffled_action"] == pytest.approx(1.0, abs=1e-3)
    assert found["loops"]["turn"] == pytest.approx(0.0, abs=1e-3), "who never leaves has closed every loop"
    assert found["loops"]["turn_off_on_the_way"] == pytest.approx(found["loops"]["copy_last_off_on_the_way"], rel=1e-3)


def test_the_headline_has_every_number_a_target_is_set_for() -> None:
    drop = overlay_loss(Knowing(row=SIZE - 1), Knowing(row=SIZE - 1), spelt_place(), _top_fifth(), 0)
    relative = {name: {"pan": 1.0, "tilt": 0.5, "zoom": 0.0} for name in ("model", "random")}
    places = {"spelt": measured(Knowing), "moving": {**measured(Constant), "kind": "changing"}}
    numbers = headline(places, relative, [drop])
    flat = flatten(numbers)
    assert set(TARGETS) <= set(flat)
    assert flat["relative_r2.tilt"] == 0.5
    pans = [each["probe"]["linear"]["pan"] for each in places.values()]
    assert flat["probe_r2.pan"] == pytest.approx(sum(pans) / 2)
    assert flat["rollout_vs_lookup.static"] == measured(Knowing)["open_loop"]["vs_lookup"]["16"]
    assert flat["rollout_ratio.16"] == measured(Knowing)["open_loop"]["vs_copy_last"]["16"], "unknowns have no vote"
    assert {name.split(".")[0] for name in TARGETS if "vs" not in name} <= set(numbers["floors"])
    result = {**numbers, "headline": list(numbers), "places": places, "relative": relative, "overlay": [drop]}
    lines = list(describe({**result, "relative": {**relative, "fit": ["a"], "unseen": ["b"]}}))
    assert max(map(len, lines)) <= WIDTH
    assert any("floor" in line for line in lines)


def _top_fifth() -> Overlay:
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[: SIZE // 5] = True
    return Overlay(mask, torch.randint(0, 256, (3, SIZE, SIZE), dtype=torch.uint8))


def test_an_overlay_costs_whoever_looks_at_it() -> None:
    place = spelt_place()
    looks_away, looks_there = Knowing(row=SIZE - 1), Knowing(row=0)
    assert overlay_loss(looks_away, looks_away, place, _top_fifth(), 0)["drop"] == pytest.approx(0.0)
    assert overlay_loss(looks_away, looks_there, place, _top_fifth(), 0)["drop"] == pytest.approx(1.0, abs=0.05)
