"""The seam: objectives by name, their terms and weights, and what they let a world model see."""

from __future__ import annotations

import pytest
import torch

from shared.world_model import WorldModel
from tests.world_model_trainer.objectives.networks import CONV, config, rollout, trajectories
from world_model_trainer.objectives import (
    DEFAULT_OBJECTIVE,
    OBJECTIVES,
    ObjectiveConfig,
    Rollout,
    Trajectories,
    build_objective,
    networks_for,
    roll_out,
)
from world_model_trainer.objectives.inverse_dynamics import InverseDynamics


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def test_the_default_is_what_was_measured() -> None:
    objective = build_objective(config())
    weights = {
        name: weight
        for part in [objective, objective.main, *objective.add_ons]
        for name, weight in part.weights.items()
    }
    assert objective.config.name == DEFAULT_OBJECTIVE == "vicreg+idm+pose"
    assert weights == {
        "prediction": 8.0,
        "variance": 4.0,
        "covariance": 0.15,
        "variance_over_time": 0.0,
        "inverse_dynamics": 0.5,
        "pose": 4.0,
        "tokens": 1.0,
        "surprise": 0.1,
    }


def test_terms_are_named_weighted_and_summed_by_nobody_else() -> None:
    objective = build_objective(
        config(), ObjectiveConfig(name="vicreg+idm", weights={"prediction": 3.0, "variance": 0.0})
    )
    encoded = torch.randn(8, 3, 32)
    terms = objective(rollout(encoded, encoded[:, 1:] + 0.5))
    assert set(terms) == {"prediction", "variance", "covariance", "inverse_dynamics", "surprise"}
    assert float(terms["prediction"]) == pytest.approx(3.0 * 0.25, rel=1e-5)
    assert float(terms["variance"]) == 0.0


def test_variance_over_time_is_a_term_once_it_has_a_weight() -> None:
    made = rollout(torch.randn(8, 3, 32) * 0.1)
    objective = build_objective(config(), ObjectiveConfig(name="vicreg", weights={"variance_over_time": 0.5}))
    terms = objective(made)
    assert 0.4 < float(terms["variance_over_time"]) < 0.5
    assert "variance_over_time" not in build_objective(config(), ObjectiveConfig(name="vicreg"))(made)


@pytest.mark.parametrize(
    ("name", "weights", "reason"),
    [
        ("vicrag", {}, "no objective 'vicrag': there are vicreg, sigreg, ema"),
        ("idm", {}, "no objective 'idm'"),
        ("vicreg+pos", {}, r"add-ons are idm, pose, motion, each at most once"),
        ("vicreg+idm+idm", {}, "each at most once"),
        ("sigreg", {"variance": 1.0}, "sigreg has no term 'variance': it has prediction, sigreg, surprise, tokens"),
        ("ema", {}, "objective ema needs a world model with normal_embedding = True"),
    ],
)
def test_a_wrong_name_is_told_with_what_there_is(name: str, weights: dict[str, float], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        build_objective(config(), ObjectiveConfig(name=name, weights=weights))


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_are_finite_and_not_negative(weight: float) -> None:
    with pytest.raises(ValueError, match=r"weights\.pose"):
        ObjectiveConfig(weights={"pose": weight})


def test_networks_come_fit_for_the_objective() -> None:
    assert networks_for("tiny", ObjectiveConfig(name="ema+idm")).normal_embedding
    assert not networks_for("tiny").normal_embedding
    assert networks_for("small", surprise="progress").surprise == "progress"
    with pytest.raises(ValueError, match="no objective 'emma'"):
        networks_for("tiny", ObjectiveConfig(name="emma"))


def test_roll_out_predicts_open_loop_from_the_first_view() -> None:
    model = WorldModel(config())
    torch.nn.init.normal_(model.predictor.change.weight, std=0.1)
    batch = trajectories(4)
    made = roll_out(model, batch)
    other_ends = Trajectories(batch.images.clone(), batch.poses, batch.actions)
    other_ends.images[:, 1:] = 0
    torch.testing.assert_close(roll_out(model, other_ends).predicted, made.predicted)
    torch.testing.assert_close(made.encoded[:, 2], model.encode(batch.images[:, 2]).embedding)
    assert made.log_surprise.shape == (4, 3)
    assert made.pairs is None


def test_pairs_read_every_view_once_and_are_shaped_from_to() -> None:
    model = WorldModel(config("tokens"))
    seen: list[int] = []
    model.encoder.register_forward_hook(lambda module, args, out: seen.append(len(args[0])))
    made = roll_out(model, trajectories(2))
    assert seen == [8], "two trajectories of four views, in one call"
    assert made.pairs is not None
    assert made.pairs.shape == (2, 4, 4, 32)
    assert made.maps is not None
    assert made.maps.predicted.shape == (2, 4, 4, 5, 48)
    assert made.maps.seen.shape == (2, 4, 5, 48)
    assert not made.maps.seen.requires_grad
    with torch.no_grad():
        assert roll_out(model, trajectories(2)).pairs is None, "only for learning"


def test_every_step_asks_for_other_tokens() -> None:
    model = WorldModel(config("tokens"))
    places = [made.maps.places for made in (roll_out(model, trajectories(2)) for _ in range(2)) if made.maps]
    assert all(len(set(each.tolist())) == 5 for each in places)
    assert not torch.equal(*places)


def _gradients(name: str, kind: str) -> tuple[float, float]:
    """Return how much of a gradient the objective's own terms give to encoder and predictor."""
    networks = config(kind, normal_embedding=name == "ema")
    model = WorldModel(networks)
    for layer in ("change", "token_change"):
        if hasattr(model.predictor, layer):
            torch.nn.init.normal_(getattr(model.predictor, layer).weight, std=0.1)
    objective = build_objective(networks, ObjectiveConfig(name=name))
    objective.attach(model)
    terms = objective(objective.roll_out(model, trajectories()))
    terms.pop("surprise")
    torch.stack(list(terms.values())).sum().backward()
    return tuple(
        sum(float(p.grad.abs().sum()) for p in part.parameters() if p.grad is not None)
        for part in (model.encoder, model.predictor)
    )  # type: ignore[return-value]


@pytest.mark.parametrize("kind", ["conv", "tokens"])
@pytest.mark.parametrize("name", list(OBJECTIVES))
def test_gradients_flow_where_they_should(name: str, kind: str) -> None:
    encoder, predictor = _gradients(name, kind)
    assert predictor > 0.0
    assert (encoder > 0.0) == (name != "random")


def test_the_predictor_of_the_generative_baseline_does_not_bend_its_embedding() -> None:
    networks = config()
    model = WorldModel(networks)
    torch.nn.init.normal_(model.predictor.change.weight, std=0.1)
    objective = build_objective(networks, ObjectiveConfig(name="rssm"))
    terms = objective(objective.roll_out(model, trajectories()))
    terms["prediction"].backward()
    assert all(p.grad is None for p in model.encoder.parameters())
    assert any(p.grad is not None for p in model.predictor.parameters())


def test_inverse_dynamics_needs_the_move_in_the_embedding() -> None:
    scale = torch.tensor([5.0, 5.0, 0.1])
    actions = torch.randn(512, 1, 3) * scale
    start = torch.randn(512, 1, 16)
    moved = torch.cat([actions / scale, torch.zeros(512, 1, 13)], dim=-1)
    informed = torch.cat([start, start + moved], dim=1)
    blind = torch.cat([start, torch.randn(512, 1, 16)], dim=1)
    unseen = {}
    for name, encoded in (("informed", informed), ("blind", blind)):
        head = InverseDynamics(config(**{**CONV, "embedding_size": 16}), ObjectiveConfig())
        optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3, weight_decay=0.1)

        def term(part: slice, encoded: torch.Tensor = encoded, head: InverseDynamics = head) -> torch.Tensor:
            made: Rollout = rollout(encoded[part], actions=actions[part])
            return head(made)["inverse_dynamics"]

        for _ in range(150):
            optimizer.zero_grad()
            term(slice(256)).backward()
            optimizer.step()
        unseen[name] = term(slice(256, 512)).item()
    assert unseen["informed"] < 0.3 * unseen["blind"]
