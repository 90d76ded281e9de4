"""The study's options, the shipped configurations, and the commands: right input and wrong."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from ptzjepa.cli import main
from ptzjepa.moving_dots.config import TrainConfig, read_config
from ptzjepa.moving_dots.recipe import recipe
from ptzjepa.moving_dots.shipped import names, path_of
from shared.errors import UserError
from world_model_trainer.laboratory.moving_dots.methods import METHODS

KINDS = ("changing_uniform", "changing_structured", "fixed_uniform", "fixed_structured")

THE_STUDYS = """
model_type: VICReg
n_steps: 17
val_n_steps: 17
dataset_size: 10000
dataset_noise: 1.0
val_dataset_size: 10000
wandb: true
run_name: null
seed: 1
dataset_static_noise: 0.0
dataset_structured_noise_path: /somewhere
dataset_batch_size: 128
dataset_normalize: true
vicreg:
  projector: id
  predictor: rnn
  sim_coeff: 4.08
  std_coeff: 1.18
  cov_coeff: 1.0
  arch: menet5
  epochs: 100
  base_lr: 2.74
  repr_loss_after_projector: false
  skip_first_step_vc: true
  embedding_size: 512
  backbone_width_factor: 2
rssm:
  arch: resnet18
simclr:
  projector: 512-512-512
probing_cfg:
  epochs: 30
  prober_arch: ''
"""


class Said(NamedTuple):
    code: int
    out: str
    error: str


Command = Callable[..., Said]


@pytest.fixture
def moving_dots(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["ptzjepa", "moving-dots", *arguments])
        monkeypatch.setenv("COLUMNS", "80")
        return Said(main(), *capsys.readouterr())

    return run


def test_there_is_a_configuration_for_each_method_and_noise(moving_dots: Command) -> None:
    assert set(names()) == {f"{kind}.{method}" for kind in KINDS for method in METHODS}
    assert moving_dots("configs").out.split() == names()


@pytest.mark.parametrize("name", [f"{kind}.{method}" for kind in KINDS for method in METHODS])
def test_a_shipped_configuration_is_what_its_name_says(name: str) -> None:
    noise, method = name.split(".")
    plan = recipe(read_config([path_of(name)], []))
    assert plan.method == method
    level = (plan.dots.noise, plan.dots.static_noise)
    assert level == ((1.0, 0.0) if noise.startswith("changing") else (0.0, 1.0))
    assert plan.dots.structured_noise == noise.endswith("structured")
    assert plan.learning.optimizer == "adamw"


def test_the_studys_own_files_are_understood(tmp_path: Path) -> None:
    file = tmp_path / "best.yaml"
    file.write_text(THE_STUDYS)
    assert recipe(read_config([file], ["overlay=0.25"])).learning.overlay == 0.25
    plan = recipe(read_config([file], ["dataset_noise=0", "dataset_static_noise=2.5"]))
    assert plan.method == "vicreg"
    assert plan.weights == {"prediction": 4.08, "variance": 1.18, "covariance": 1.0}
    assert (plan.dots.noise, plan.dots.static_noise) == (0.0, 2.5)
    learning = plan.learning
    assert (learning.optimizer, learning.batch, learning.pairs) == ("lars", 128, None)
    assert learning.steps == 100 * 10_000 // 128
    assert learning.learning_rate == pytest.approx(2.74 * 128 / 256)
    assert (learning.warm_up, learning.floor, learning.weight_decay) == (0.1, 0.001, 1e-6)
    assert (plan.networks.embedding_size, plan.networks.width) == (512, 2)


@pytest.mark.parametrize(
    ("values", "method"),
    [
        (["model_type=VICReg", "vicreg.action_coeff=1"], "vicreg+idm"),
        (["model_type=VICReg", "vicreg.action_coeff=.02", "vicreg.std_coeff=0", "vicreg.cov_coeff=0"], "idm"),
        (["model_type=SimCLR", "eval_only=true", "probing_cfg.full_finetune=true"], "supervised"),
        (["model_type=SimCLR", "simclr.negatives=trajectory"], "simclr-trajectory"),
        (["model_type=SIGReg"], "sigreg"),
        (["model_type=SIGReg", "sigreg.statistics=trajectory"], "sigreg-trajectory"),
        (["model_type=VICReg", "vicreg.statistics=trajectory", "vicreg.action_coeff=1"], "vicreg-trajectory+idm"),
        (["model_type=EMA", "ema.action_coeff=1e-1"], "ema+idm"),
        (["model_type=RSSM", "rssm.learning_rate=3e-4"], "rssm"),
    ],
)
def test_options_make_methods(values: list[str], method: str) -> None:
    assert recipe(read_config([], values)).method == method


def test_values_go_before_files_and_later_files_before_earlier(tmp_path: Path) -> None:
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("model_type: VICReg\nseed: 1\nvicreg:\n  epochs: 5\n  cov_coeff: 2\n")
    second.write_text("seed: 2\nvicreg:\n  epochs: 6\n")
    config = read_config([first, second], ["vicreg.epochs=7"])
    assert (config.seed, config.vicreg.epochs, config.vicreg.cov_coeff) == (2, 7, 2.0)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["model_type=VICRag"], "model_type=VICRag"),
        (["seed=1"], "model_type is missing"),
        (["model_type=VICReg", "sede=1"], "no option sede: there are"),
        (["model_type=VICReg", "vicreg.lr=1"], "no option vicreg.lr: there are action_coeff"),
        (["model_type=VICReg", "vicreg=1"], "vicreg=1"),
        (["model_type=VICReg", "seed"], "--configs seed: No such file"),
        (["model_type=VICReg", "=1"], "give key=value"),
        (["model_type=VICReg", "seed=[1"], "no YAML value"),
        (["model_type=VICReg", "dataset_noise=-1"], "dataset_noise=-1"),
        (["model_type=VICReg", "dataset_noise=.nan"], "dataset_noise=nan"),
        (["model_type=VICReg", "vicreg.arch=resnet18"], "vicreg.arch=resnet18: this laboratory has 'menet5' alone"),
        (["model_type=SimCLR", "simclr.projector=512-512"], "simclr.projector=512-512"),
        (["model_type=VICReg", "vicreg.base_lr=1", "vicreg.learning_rate=1"], "give one of them"),
        (["model_type=VICReg", "vicreg.base_lr=1", "vicreg.epochs=10"], "vicreg.epochs=10"),
        (["model_type=VICReg", "vicreg.channels=3"], "one dot has one channel"),
        (["model_type=IDM"], "model_type=IDM: needs vicreg.action_coeff"),
        (["model_type=RSSM", "rssm.action_coeff=1"], "rssm.action_coeff"),
        (["model_type=Random", "load_checkpoint_path=/nowhere/model"], "load_checkpoint_path=/nowhere/model"),
        (
            ["model_type=Random", "dataset_structured_noise=true", "dataset_structured_noise_path=/nowhere"],
            "/nowhere: no folder of pictures",
        ),
    ],
)
def test_wrong_options_end_with_one_clear_line(values: list[str], words: str, moving_dots: Command) -> None:
    said = moving_dots("train", "--values", *values)
    assert said.code == 2
    assert len(said.error.splitlines()) == 1, said.error
    assert said.error.startswith("error: ")
    assert words in said.error


def test_wrong_files_end_with_one_clear_line(moving_dots: Command, tmp_path: Path) -> None:
    listed, broken = tmp_path / "list.yaml", tmp_path / "broken.yaml"
    listed.write_text("- 1\n")
    broken.write_text("a: [\n")
    for file, words in ((listed, "holds no options"), (broken, "no YAML"), (tmp_path / "none.yaml", "No such file")):
        said = moving_dots("train", "--configs", str(file))
        assert (said.code, len(said.error.splitlines())) == (2, 1), said.error
        assert words in said.error


def test_train_probes_plans_and_keeps_the_model(moving_dots: Command, tmp_path: Path) -> None:
    model, first, second = (tmp_path / name for name in ("model.safetensors", "first.json", "second.json"))
    small = ["vicreg.epochs=1", "dataset_size=64", "vicreg.embedding_size=16", "seed=1", "val_dataset_size=50"]
    said = moving_dots(
        "train", "--configs", "fixed_uniform.vicreg+idm", "--json", str(first),
        "--values", *small, f"output_path={model}", "probe_mpc=true", "run_name=x",
    )  # fmt: skip
    assert said.code == 0, said.error
    assert "without effect here: run_name" in said.out
    result = json.loads(first.read_text())
    assert result["method"] == "vicreg+idm"
    assert result["card"]["steps"] == 1
    assert result["card"]["options"]["vicreg"]["epochs"] == 1
    assert {"distance", "random", "start"} <= set(result["probe_mpc"])
    again = [*small, "eval_only=true", f"load_checkpoint_path={model}"]
    assert moving_dots("train", "fixed_uniform.vicreg+idm", *again, "--json", str(second)).code == 0
    assert json.loads(second.read_text())["rmse"] == pytest.approx(result["rmse"], rel=1e-5)
    said = moving_dots("train", "fixed_uniform.vicreg+idm", f"load_checkpoint_path={first}")
    assert (said.code, len(said.error.splitlines())) == (2, 1)


def test_options_have_the_studys_names_and_defaults() -> None:
    config = TrainConfig(model_type="VICReg")
    assert (config.n_steps, config.dataset_dot_std, config.eval_mpcs, config.seed) == (17, 1.3, 20, 42)
    assert (config.vicreg.sim_coeff, config.vicreg.std_coeff, config.vicreg.cov_coeff) == (25.0, 25.0, 1.0)
    with pytest.raises(UserError, match="no option"):
        read_config([], ["model_type=VICReg", "vicreg.foo.bar=1"])
