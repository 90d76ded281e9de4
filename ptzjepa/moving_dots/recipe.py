"""From the study's options to data, networks, objective and training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ptzjepa.moving_dots.config import EmaSection, Joint, RssmSection, Section, SimclrSection, TrainConfig
from shared.errors import UserError
from world_model_trainer.laboratory.moving_dots.data import DotsConfig
from world_model_trainer.laboratory.moving_dots.networks import NetworkConfig
from world_model_trainer.laboratory.moving_dots.training import LearningConfig

_LARS_REFERENCE = 256
_WARM_UP_EPOCHS = 10


@dataclass(frozen=True)
class Recipe:
    """What ``TrainConfig`` comes to. ``weights`` and ``options`` are the objective's."""

    method: str
    dots: DotsConfig
    networks: NetworkConfig
    learning: LearningConfig
    weights: dict[str, float] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)


def recipe(config: TrainConfig) -> Recipe:
    """Translate. ``UserError`` where the laboratory can't do what is asked."""
    where, section = active(config)
    section.only(where)
    method, weights, options = _objective(config)
    return Recipe(
        method, _dots(config, section), _networks(section), _learning(config, where, section), weights, options
    )


def active(config: TrainConfig) -> tuple[str, Section]:
    """Return the section that the model type reads, with its name."""
    name = {"RSSM": "rssm", "SimCLR": "simclr", "SIGReg": "sigreg", "EMA": "ema"}.get(config.model_type, "vicreg")
    section: Section = getattr(config, name)
    return name, section


def _objective(config: TrainConfig) -> tuple[str, dict[str, float], dict[str, Any]]:
    """Return the method's name, its weights, its options."""
    kind = config.model_type
    if kind == "Supervised" or (config.eval_only and config.probing_cfg.full_finetune):
        return "supervised", {}, {}
    if kind == "Random":
        return "random", {}, {}
    _, section = active(config)
    inverse = {"inverse_dynamics": section.action_coeff} if section.action_coeff else {}
    if kind == "RSSM":
        return _rssm(config.rssm)
    if kind == "SimCLR":
        return _simclr(config.simclr)
    if kind == "SIGReg":
        sigreg = config.sigreg
        weights = {"prediction": sigreg.sim_coeff, "sigreg": sigreg.sig_coeff, **inverse}
        return _with(_within("sigreg", sigreg.statistics), inverse), weights, {"slices": sigreg.slices}
    if kind == "EMA":
        return _with("ema", inverse), {"prediction": 1.0, **inverse}, _momentum(config.ema, _steps(config))
    vicreg = config.vicreg
    weights = {"prediction": vicreg.sim_coeff, "variance": vicreg.std_coeff, "covariance": vicreg.cov_coeff}
    if inverse and not (vicreg.std_coeff or vicreg.cov_coeff):
        return "idm", {"prediction": vicreg.sim_coeff, **inverse}, {}
    if kind == "IDM":
        raise UserError("model_type=IDM: needs vicreg.action_coeff above 0, and std_coeff and cov_coeff of 0")
    return _with(_within("vicreg", vicreg.statistics), inverse), {**weights, **inverse}, {}


def _within(name: str, statistics: str) -> str:
    return name if statistics == "batch" else f"{name}-trajectory"


def _with(name: str, inverse: dict[str, float]) -> str:
    return f"{name}+idm" if inverse else name


def _rssm(section: RssmSection) -> tuple[str, dict[str, float], dict[str, Any]]:
    if section.action_coeff:
        raise UserError("rssm.action_coeff: reconstruction has no inverse dynamics here")
    return "rssm", {"divergence": section.kl_coeff}, {"stochastic_size": section.stochastic_size, "free_nats": 3.0}


def _simclr(section: SimclrSection) -> tuple[str, dict[str, float], dict[str, Any]]:
    if section.action_coeff:
        raise UserError("simclr.action_coeff: contrast has no inverse dynamics here")
    name = "simclr" if section.negatives == "batch" else "simclr-trajectory"
    return name, {"prediction": section.sim_coeff}, {"temperature": section.loss_temp}


def _momentum(section: EmaSection, steps: int) -> dict[str, Any]:
    return {"momentum": section.momentum, "momentum_steps": max(1, steps)}


def _dots(config: TrainConfig, section: Section) -> DotsConfig:
    multiple = config.dataset_type == "Multiple"
    if section.channels == 3 and not multiple:
        raise UserError("channels=3: one dot has one channel; ask for dataset_type=Multiple")
    return DotsConfig(
        steps=config.n_steps,
        dots=3 if multiple else 1,
        channels=section.channels,
        dot_std=config.dataset_dot_std,
        noise=config.dataset_noise,
        static_noise=config.dataset_static_noise,
        static_noise_speed=config.dataset_static_noise_speed,
        structured_noise=config.dataset_structured_noise,
        normalize=config.dataset_normalize,
    )


def _networks(section: Section) -> NetworkConfig:
    return NetworkConfig(
        embedding_size=section.embedding_size,
        width=section.backbone_width_factor,
        layers=section.rnn_layers if isinstance(section, Joint) else 1,
        channels=section.channels,
    )


def _steps(config: TrainConfig) -> int:
    return active(config)[1].epochs * config.dataset_size // config.dataset_batch_size


def _learning(config: TrainConfig, where: str, section: Section) -> LearningConfig:
    steps, batch = _steps(config), config.dataset_batch_size
    if isinstance(section, Joint) and section.base_lr is not None:
        if section.epochs <= _WARM_UP_EPOCHS:
            raise UserError(
                f"{where}.epochs={section.epochs}: LARS warms up for {_WARM_UP_EPOCHS} epochs, ask for more"
            )
        return LearningConfig(
            steps=steps,
            batch=batch,
            pairs=config.frame_pairs,
            overlay=config.overlay,
            optimizer="lars",
            learning_rate=section.base_lr * batch / _LARS_REFERENCE,
            weight_decay=1e-6,
            warm_up=_WARM_UP_EPOCHS / section.epochs,
            floor=0.001,
            clip_norm=None,
        )
    rate = LearningConfig().learning_rate if section.learning_rate is None else section.learning_rate
    return LearningConfig(
        steps=steps, batch=batch, pairs=config.frame_pairs, overlay=config.overlay, learning_rate=rate
    )
