"""Each metric against a case whose answer follows from its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from camera_sampler.simulation.panorama import Panorama
from camera_sampler.simulation.renderer import Renderer
from shared.pose import Pose
from tests.world_model_trainer.knowing import CONFIG, Knowing, embeddings, spelt_place
from world_model_trainer.evaluation import angles, loops, open_loop, retrieval, spread
from world_model_trainer.evaluation.lookup import PoseLookup
from world_model_trainer.evaluation.nuisance import camera_identity, make_overlay
from world_model_trainer.evaluation.pose_probe import fit_ridge, r2
from world_model_trainer.evaluation.relative_pose import EncodedPairs, Pairs, half_mirrored, relative_pose, trained_head

poses = st.tuples(st.floats(-180.0, 179.9), st.floats(-30.0, 60.0), st.floats(1.0, 3.0))


@given(poses)
def test_targets_of_the_probe_name_the_pose(pose: tuple[float, float, float]) -> None:
    there = torch.tensor([pose])
    back = angles.poses_from_targets(angles.pose_targets(there))
    assert float(angles.degrees_between(there, back)) < 0.05
    assert back[0, 2] == pytest.approx(pose[2], rel=1e-4)


@given(poses, poses)
def test_angles_between_axes_are_those_of_vectors(one: tuple[float, ...], other: tuple[float, ...]) -> None:
    def axis(pose: tuple[float, ...]) -> list[float]:
        pan, tilt = math.radians(pose[0]), math.radians(pose[1])
        return [math.cos(tilt) * math.sin(pan), math.sin(tilt), math.cos(tilt) * math.cos(pan)]

    cosine = sum(a * b for a, b in zip(axis(one), axis(other), strict=True))
    found = float(angles.degrees_between(torch.tensor([one]).double(), torch.tensor([other]).double()))
    assert found == pytest.approx(math.degrees(math.acos(max(-1.0, min(1.0, cosine)))), abs=1e-4)


def test_view_width_is_a_pinhole_s() -> None:
    assert angles.view_width(torch.tensor([1.0]), 60.0).item() == pytest.approx(60.0)
    assert angles.view_width(torch.tensor([2.0]), 90.0).item() == pytest.approx(2 * math.degrees(math.atan(0.5)))


def test_r2_is_one_for_the_truth_and_nought_for_its_mean() -> None:
    true = torch.randn(50, 2)
    assert r2(true, true).tolist() == [1.0, 1.0]
    assert r2(true.mean(dim=0).expand(50, 2), true).tolist() == pytest.approx([0.0, 0.0], abs=1e-6)


def test_ridge_finds_a_line_and_shrinks_where_there_is_only_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(400, 20, generator=generator)
    targets = inputs @ torch.randn(20, 3, generator=generator) + 5.0
    assert float(r2(fit_ridge(inputs[:300], targets[:300])(inputs[300:]), targets[300:]).min()) > 0.99999
    wide, noise = torch.randn(120, 100, generator=generator), torch.randn(120, 1, generator=generator)
    fitted = fit_ridge(wide[:100], noise[:100])(wide[100:])
    assert float(fitted.std()) < 0.7 * float(noise.std()), "the largest penalty wins, by the inner part alone"


def test_effective_rank_counts_dimensions() -> None:
    generator = torch.Generator().manual_seed(0)
    basis = torch.linalg.qr(torch.randn(300, 7, generator=generator)).Q
    basis = torch.linalg.qr(basis - basis.mean(dim=0)).Q
    frame = torch.linalg.qr(torch.randn(16, 16, generator=generator)).Q
    flat = basis @ frame[:7]
    assert spread.effective_rank(flat) == pytest.approx(7.0, abs=1e-3)
    assert spread.effective_rank(flat + 10.0) == pytest.approx(7.0, abs=0.05), "an offset is no dimension"
    assert spread.rank_me(flat + 10.0) == pytest.approx(1.0, abs=0.1), "but RankMe sees it"
    shares = torch.tensor([0.5, 0.25, 0.25])
    uneven = (basis[:, :3] * shares) @ frame[:3]
    assert spread.effective_rank(uneven) == pytest.approx(2**1.5, abs=1e-3), "exp of the entropy, 1.5 bits"


def test_within_and_between_walks() -> None:
    ends = torch.tensor([-1.0, 1.0])[:, None, None]
    inside = torch.tensor([-0.5, 0.5])[None, :, None]
    assert spread.within_between((ends + inside).expand(2, 2, 4)) == pytest.approx(0.25)
    assert spread.within_between(ends.expand(2, 5, 4)) == 0.0


def test_retrieval_counts_ties_against_the_model() -> None:
    candidates = torch.eye(8)
    assert retrieval.ranks(candidates, candidates).h1 == 1.0
    found = retrieval.ranks(candidates.roll(1, dims=0), candidates)
    assert (found.h1, found.h5) == (0.0, 0.0), "the true one is as far as six others, all of which count before it"
    half = torch.cat([candidates[:4], candidates[4:].roll(1, dims=0)])
    assert retrieval.ranks(half, candidates).h1 == 0.5
    others = candidates[:, None] + torch.tensor([0.0, 1.0])[None, :, None]
    assert retrieval.ranks_among(candidates, candidates, others[:, 1:]).h1 == 1.0
    assert retrieval.ranks_among(candidates, candidates, others[:, :1]).h1 == 0.0


@given(st.lists(poses, min_size=1, max_size=12, unique=True), st.integers(0, 11))
def test_lookup_returns_what_is_stored_there(stored: list[tuple[float, float, float]], which: int) -> None:
    which %= len(stored)
    table = PoseLookup(torch.tensor(stored), torch.arange(len(stored))[:, None].float())
    found = int(table(torch.tensor([stored[which]]))[0, 0])
    assert stored[found] == pytest.approx(stored[which], abs=1e-3)


def test_lookup_knows_that_pan_goes_round_and_counts_less_up_high() -> None:
    table = PoseLookup(torch.tensor([[-179.0, 0.0, 1.0], [170.0, 0.0, 1.0]]), torch.tensor([[0.0], [1.0]]))
    assert table(torch.tensor([[179.0, 0.0, 1.0]])).item() == 0.0
    high = PoseLookup(torch.tensor([[8.0, 60.0, 1.0], [0.0, 54.5, 1.0]]), torch.tensor([[0.0], [1.0]]))
    assert high(torch.tensor([[0.0, 60.0, 1.0]])).item() == 0.0, "8° of pan at 60° are 4° of arc"


def test_curve_is_the_ratio_of_means_where_it_is_asked() -> None:
    ours, theirs = torch.tensor([[1.0, 4.0], [3.0, 0.0]]), torch.tensor([[4.0, 8.0], [4.0, 2.0]])
    assert open_loop.curve(ours, theirs) == {"1": 0.5, "2": 0.4}
    where = torch.tensor([[False, False], [True, False]])
    assert open_loop.curve(ours, theirs, where) == {"1": 0.75, "2": None}


def test_a_drifting_dream_misses_its_beginning_by_its_drift() -> None:
    place = spelt_place(walks=4)
    start = embeddings(place.walks.poses[:, 0])
    length = math.sqrt(CONFIG.embedding_size)
    path = loops.turn(place.walks.poses[:, 0])
    assert loops.closure(Knowing(drift=0.01), start, path, 2.0) == pytest.approx(36 * 0.01 * length / 2.0, rel=1e-3)
    back = loops.out_and_back(place.walks.poses, place.walks.actions)
    assert torch.allclose(angles.difference(back.poses[:, :-1], back.poses[:, 1:]), back.actions, atol=1e-4)
    assert loops.closure(Knowing(drift=0.01), start, back, 1.0) == pytest.approx(32 * 0.01 * length, rel=1e-3)


@given(poses)
def test_paths_end_where_they_began(pose: tuple[float, float, float]) -> None:
    start = torch.tensor([pose])
    for path in (loops.turn(start), loops.zoom_in_and_out(start)):
        apart = angles.difference(path.poses[:, 0], path.poses[:, -1])
        assert apart.abs().max().item() == pytest.approx(0.0, abs=1e-3)
        assert path.poses[..., 2].min().item() >= 0.99
        assert path.poses[..., 2].max().item() <= 3.01
        moved = angles.difference(path.poses[:, :-1], path.poses[:, 1:])
        assert torch.allclose(moved, path.actions, atol=1e-3)


def test_cameras_are_told_apart_by_what_tells_them_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    pose, cameras = torch.randn(400, 3, generator=generator), torch.arange(400) % 2
    marked = torch.cat([pose, cameras[:, None].float()], dim=1)

    def probe(embedding: torch.Tensor) -> torch.Tensor:
        return embedding[:, :3]

    found = camera_identity(marked[:300], cameras[:300], marked[300:], cameras[300:], probe)
    assert found.embedding == 1.0
    assert found.pose_subspace == pytest.approx(0.5, abs=0.12)
    assert found.chance == 0.5


def test_overlays_cover_what_they_say_and_differ() -> None:
    one, other = make_overlay(64, 1), make_overlay(64, 2)
    assert one.mask.float().mean().item() == pytest.approx(0.2, abs=1e-3)
    assert not torch.equal(one.mask, other.mask)
    images = torch.zeros(2, 5, 3, 64, 64, dtype=torch.uint8)
    assert torch.equal(
        (one.on(images) != 0).any(dim=2), (one.mask & (one.picture != 0).any(dim=0)).expand(2, 5, 64, 64)
    )


def _shifted(count: int, seed: int, *, related: bool) -> EncodedPairs:
    """Token maps of 8 × 8 random features, the second one shifted by up to two tokens each way."""
    generator = torch.Generator().manual_seed(seed)
    fields = torch.randn(count, 12, 12, 24, generator=generator)
    shifts = torch.randint(-2, 3, (count, 2), generator=generator)
    seen = torch.stack([field[2 + x : 10 + x, 2 + y : 10 + y] for field, (x, y) in zip(fields, shifts, strict=True)])
    before = fields[:, 2:10, 2:10] if related else torch.randn(count, 8, 8, 24, generator=generator)
    targets = torch.cat([shifts.float(), shifts.sum(dim=1, keepdim=True).float()], dim=1)
    return EncodedPairs(before.flatten(1, 2).half(), seen.flatten(1, 2).half(), targets)


def test_relative_pose_is_read_from_what_corresponds_and_from_nothing_else() -> None:
    torch.set_num_threads(1)
    found = relative_pose(_shifted(1000, 0, related=True), _shifted(150, 1, related=True), 0, steps=100)
    assert min(found.values()) > 0.8, "in fields that nobody has seen"
    found = relative_pose(_shifted(300, 0, related=False), _shifted(200, 1, related=False), 0, steps=30)
    assert max(found.values()) < 0.1


def _turned(maps: Tensor) -> Tensor:
    return maps.reshape(-1, 8, 8, 24).transpose(1, 2).flatten(1, 2)


def test_relative_pose_goes_on_from_a_head_that_has_learnt() -> None:
    torch.set_num_threads(1)
    fit, unseen = _shifted(1000, 0, related=True), _shifted(150, 1, related=True)
    head = trained_head(fit, 0, 100)
    before = {name: tensor.clone() for name, tensor in head.state_dict().items()}
    assert min(relative_pose(fit, unseen, 1, steps=2, head=head).values()) > 0.8
    assert max(relative_pose(fit, unseen, 1, steps=2).values()) < 0.5
    turned = EncodedPairs(_turned(unseen.maps), _turned(unseen.next_maps), unseen.targets)
    both = relative_pose(fit, unseen, 1, steps=2, head=head, in_mirror=turned)
    alone = relative_pose(fit, unseen, 1, steps=2, head=head)
    assert both["pan"] < alone["pan"] - 0.2, "what is no mirror image is another answer, which counts half"
    for name, tensor in head.state_dict().items():
        assert torch.equal(tensor, before[name]), "a copy learns"


def test_a_pair_in_a_mirror_is_a_pair_of_the_mirrored_scene() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    scene, mirrored = (Renderer(Panorama(each)) for each in (picture, np.ascontiguousarray(picture[:, ::-1])))
    poses = torch.tensor([[30.0, 10.0, 1.0], [-70.0, -20.0, 1.5], [170.0, 0.0, 2.0], [5.0, 25.0, 1.2]])
    after = poses + torch.tensor([8.0, -5.0, 0.1])

    def views(each: Tensor, renderer: Renderer) -> Tensor:
        shown = [renderer.render(Pose(pan=pan, tilt=tilt, zoom=zoom), 32, 32) for pan, tilt, zoom in each.tolist()]
        return torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2)

    found = half_mirrored(Pairs(views(poses, scene), poses, views(after, scene), after))
    mirror = torch.tensor([-1.0, 1.0, 1.0])
    for place, pose, images in ((poses, found.poses, found.images), (after, found.next_poses, found.next_images)):
        assert torch.equal(pose[::2], place[::2])
        assert torch.equal(pose[1::2], place[1::2] * mirror)
        assert torch.equal(images[::2], views(place, scene)[::2])
        off = (images[1::2].int() - views(place * mirror, mirrored)[1::2].int()).abs()
        assert off.float().mean() < 2.0, "but for the pixel's own width"
