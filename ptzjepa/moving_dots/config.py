"""The study's configuration format: YAML files and ``key=value`` overrides, by its option names.

Its files can be read as they are. What is ours besides: ``model_type`` SIGReg, EMA, IDM, Supervised and Random, the
sections ``sigreg`` and ``ema``, ``simclr.negatives``, ``vicreg.statistics``, ``sigreg.statistics``, ``frame_pairs``,
``overlay``, and ``learning_rate`` in every section.
``base_lr`` asks for the study's optimiser (LARS, ten epochs of warm-up, cosine), ``learning_rate`` for AdamW.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.errors import UserError

ModelType = Literal["VICReg", "RSSM", "SimCLR", "SIGReg", "EMA", "IDM", "Supervised", "Random"]
IDLE = (
    "wandb", "run_name", "run_group", "quick_debug", "safe_every_n_epochs", "eval_at_the_end_only", "val_n_steps",
)  # fmt: skip
"""Options of the study that are understood and change nothing here."""


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Section(_Options):
    """What the sections of all methods have in common. Networks other than the study's best are refused."""

    arch: str = "menet5"
    embedding_size: int = Field(default=128, ge=8, le=2048)
    backbone_width_factor: int = Field(default=1, ge=1, le=8)
    backbone_mlp: str | None = None
    action_dim: int = 2
    channels: Literal[1, 3] = 1
    rnn_burnin: int = 1
    epochs: int = Field(default=60, ge=0, le=100_000)
    action_coeff: float = Field(default=0.0, ge=0.0)
    learning_rate: float | None = Field(default=None, gt=0.0)

    def only(self, where: str) -> None:
        """Raise ``UserError`` where a network is asked for that the laboratory has not."""
        for name, value in self._only().items():
            if getattr(self, name) != value:
                raise UserError(f"{where}.{name}={getattr(self, name)}: this laboratory has {value!r} alone")

    def _only(self) -> dict[str, Any]:
        return {"arch": "menet5", "backbone_mlp": None, "action_dim": 2, "rnn_burnin": 1}


class Joint(Section):
    """Sections of joint embeddings with a recurrent predictor and no projector."""

    projector: str = "id"
    random_projector: bool = False
    predictor: str = "rnn"
    rnn_layers: int = Field(default=1, ge=1, le=4)
    base_lr: float | None = Field(default=None, gt=0.0)
    decoding_coeff: float = 0.0

    def _only(self) -> dict[str, Any]:
        return {**super()._only(), "projector": "id", "predictor": "rnn", "decoding_coeff": 0.0}

    @model_validator(mode="after")
    def _one_optimiser(self) -> Self:
        if self.base_lr is not None and self.learning_rate is not None:
            raise ValueError("base_lr asks for LARS and learning_rate for AdamW: give one of them")
        return self


class VicregSection(Joint):
    """``vicreg.*``: weights of prediction, variance and covariance."""

    sim_coeff: float = Field(default=25.0, ge=0.0)
    std_coeff: float = Field(default=25.0, ge=0.0)
    cov_coeff: float = Field(default=1.0, ge=0.0)
    encoding_std_coeff: float = 0.0
    encoding_cov_coeff: float = 0.0
    prediction_diff_coeff: float = 0.0
    repr_loss_after_projector: bool = True
    skip_first_step_vc: bool = False
    statistics: Literal["batch", "trajectory"] = "batch"

    def _only(self) -> dict[str, Any]:
        unused = ("encoding_std_coeff", "encoding_cov_coeff", "prediction_diff_coeff")
        return {**super()._only(), **dict.fromkeys(unused, 0.0)}


class SimclrSection(Joint):
    """``simclr.*``: temperature, and whether states are normalised before they are compared."""

    normalize_z: bool = True
    loss_temp: float = Field(default=0.1, gt=0.0)
    sim_coeff: float = Field(default=0.0, ge=0.0)
    negatives: Literal["batch", "trajectory"] = "batch"

    def _only(self) -> dict[str, Any]:
        return {**super()._only(), "normalize_z": True}


class SigregSection(Joint):
    """``sigreg.*``: weights of prediction and of the sketched test, and its directions a step."""

    sim_coeff: float = Field(default=1.0, ge=0.0)
    sig_coeff: float = Field(default=0.1, ge=0.0)
    slices: int = Field(default=128, ge=1, le=4096)
    statistics: Literal["batch", "trajectory"] = "batch"


class EmaSection(Joint):
    """``ema.*``: the target's momentum at the first and at the last step."""

    momentum: tuple[float, float] = (0.99, 1.0)


class RssmSection(Section):
    """``rssm.*``: the Gaussian state and the weight of the divergence."""

    min_var: float = 0.1
    rssm_adam_epsilon: float = 1e-8
    log_recontructed_image: bool = False
    stochastic_size: int = Field(default=32, ge=1, le=1024)
    kl_coeff: float = Field(default=0.01, ge=0.0)


class ProbingSection(_Options):
    """``probing_cfg.*``. The probe is solved in closed form, so of these only ``full_finetune`` counts."""

    full_finetune: bool = False
    lr: float = 1e-3
    batch_size: int | None = None
    epochs: int = 3
    epochs_enc: int = 3
    schedule: str | None = None
    prober_arch: str = ""


class TrainConfig(_Options):
    """All options of one run."""

    model_type: ModelType
    seed: int = Field(default=42, ge=0)
    n_steps: int = Field(default=17, ge=2, le=256)
    val_n_steps: int = 17
    dataset_type: Literal["Single", "Multiple"] = "Single"
    dataset_size: int = Field(default=1000, ge=4)
    val_dataset_size: int = Field(default=3000, ge=50, le=1_000_000)
    dataset_batch_size: int = Field(default=64, ge=4, le=8192)
    dataset_noise: float = Field(default=0.0, ge=0.0)
    dataset_static_noise: float = Field(default=0.0, ge=0.0)
    dataset_static_noise_speed: float = Field(default=0.0, ge=0.0)
    dataset_structured_noise: bool = False
    dataset_structured_noise_path: str | None = None
    dataset_dot_std: float = Field(default=1.3, gt=0.1, le=4.0)
    dataset_normalize: bool = True
    frame_pairs: int | None = Field(default=None, ge=1)
    overlay: float = Field(default=0.0, ge=0.0, le=1.0)
    output_path: str | None = None
    load_checkpoint_path: str | None = None
    eval_only: bool = False
    probe_mpc: bool = False
    eval_mpcs: int = Field(default=20, ge=1, le=1000)
    wandb: bool = False
    run_name: str | None = None
    run_group: str | None = None
    safe_every_n_epochs: int = 10
    quick_debug: bool = False
    eval_at_the_end_only: bool = True
    vicreg: VicregSection = VicregSection()
    simclr: SimclrSection = SimclrSection()
    sigreg: SigregSection = SigregSection()
    ema: EmaSection = EmaSection()
    rssm: RssmSection = RssmSection()
    probing_cfg: ProbingSection = ProbingSection()


def read_config(files: Sequence[Path], values: Sequence[str]) -> TrainConfig:
    """Merge ``files`` in their order, then ``values`` (``key=value``, ``vicreg.base_lr=.2``).

    ``UserError`` names an option that does not exist, a value that does not fit, or a file that can't be read.
    """
    merged: dict[str, Any] = {}
    for file in files:
        _merge(merged, _read(file))
    for value in values:
        _merge(merged, _override(value))
    if "model_type" not in merged:
        raise UserError("model_type is missing: give --configs FILE or --values model_type=VICReg")
    try:
        return TrainConfig.model_validate(merged)
    except ValidationError as error:
        raise UserError(_first(error)) from error


def _read(file: Path) -> Mapping[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--configs {file}: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"--configs {file}: no YAML ({error})") from error
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise UserError(f"--configs {file}: holds no options but {type(found).__name__}")
    return found


def _override(value: str) -> dict[str, Any]:
    name, sign, text = value.partition("=")
    keys = name.split(".")
    if not sign or not all(keys):
        raise UserError(f"--values {value}: give key=value, as in vicreg.base_lr=0.2")
    try:
        found: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--values {value}: {text!r} is no YAML value") from error
    for key in reversed(keys):
        found = {key: found}
    return dict(found)


def _merge(into: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        if isinstance(value, Mapping) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = _copied(value)


def _copied(value: Any) -> Any:
    return {name: _copied(each) for name, each in value.items()} if isinstance(value, Mapping) else value


def _first(error: ValidationError) -> str:
    wrong = error.errors(include_input=True, include_url=False)[0]
    name = ".".join(str(part) for part in wrong["loc"])
    if wrong["type"] == "extra_forbidden":
        return f"no option {name}: there are {', '.join(_siblings(wrong['loc']))}"
    return f"{name}={wrong['input']}: {wrong['msg']}" if name else str(wrong["msg"])


def _siblings(path: Iterable[int | str]) -> list[str]:
    model: type[BaseModel] = TrainConfig
    for part in list(path)[:-1]:
        kind = model.model_fields[str(part)].annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            model = kind
    return sorted(model.model_fields)
