"""The world model: one seam for whoever trains it, dreams from it, or steers by it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.world_model.config import WorldModelConfig
from shared.world_model.encoder import ConvEncoder, Encoding, add_zoom_plane, as_floats, normalise_light
from shared.world_model.external import ExternalEncoder
from shared.world_model.gradients import gradient_magnitudes
from shared.world_model.predictor import Foreseen, Predictor, TokenPredictor, copied_tokens
from shared.world_model.surprise import JUDGES
from shared.world_model.transformer import VisionTransformer


@dataclass(frozen=True)
class Prediction:
    """The next ``embedding [B, D]`` and the ``surprise [B]`` to expect from it.

    By default surprise is the squared error of the predicted embedding, mean over its dimensions, as the surprise head
    expects it. The head learns the logarithm, so this is the geometric mean over what may happen. What else surprise
    can be: ``shared.world_model.surprise``. ``guesses [B, K, D]`` are an ensemble's, where there is one and somebody
    learns. ``tokens [B, N, C]``: the layer-normalised spatial map, where the predictor foresees it and was given the
    map before.
    """

    embedding: Tensor
    log_surprise: Tensor
    guesses: Tensor | None = None
    tokens: Tensor | None = None

    @property
    def surprise(self) -> Tensor:
        """Expected surprise, ``[B]``, never negative."""
        return self.log_surprise.float().exp()


@dataclass(frozen=True)
class Pairs:
    """Every view of a trajectory foreseen from every other, from the second index to the third.

    ``embedding [B, V, V, D]``; ``tokens [B, V, V, K, C]``: the layer-normalised spatial map at ``K`` places, where the
    predictor foresees it.
    """

    embedding: Tensor
    tokens: Tensor | None


class WorldModel(nn.Module):
    """A joint-embedding predictive architecture conditioned on pose and action.

    Whatever encoder and predictor are made of, a view comes down to an embedding ``[B, D]``, and dreams need nothing
    else. ``external`` is the frozen network of a configuration that names one. ``ValueError`` if it is missing.
    """

    def __init__(self, config: WorldModelConfig, *, external: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.learnt_by = ""
        """The objective that it learnt by last; empty: untrained."""
        self.encoder = _encoder(config, external)
        if config.predictor == "tokens":
            self.predictor: Predictor | TokenPredictor = TokenPredictor(
                config, tokens=self.encoder.tokens, token_width=self.encoder.token_width
            )
        else:
            self.predictor = Predictor(config)
        self.judge = JUDGES[config.surprise](config)

    def pixels(self, images: Tensor, pose: Tensor | None = None) -> Tensor:
        """Return ``images [B, 3, S, S]``, uint8 or floats in [0, 1], as the encoder reads them.

        ``pose [B, 3]`` is needed, and looked at, only with ``zoom_channel``: ``ValueError`` if it is missing then.
        """
        if self.config.encoder == "external":
            return as_floats(images)
        pixels = normalise_light(images)
        if not self.config.zoom_channel:
            return pixels
        if pose is None:
            raise ValueError("this world model reads zoom as a fourth channel: encode needs the poses of the views")
        return add_zoom_plane(pixels, pose)

    def encode(self, images: Tensor, pose: Tensor | None = None) -> Encoding:
        """Encode ``images [B, 3, S, S]``, uint8 or floats in [0, 1]; ``pose [B, 3]`` as in ``pixels``."""
        encoding: Encoding = self.encoder(self.pixels(images, pose))
        return Encoding(encoding.tokens, self.settle(encoding.embedding))

    def settle(self, embedding: Tensor) -> Tensor:
        """Return the encoder's ``embedding [..., D]`` as everything else sees it: layer-normalised if so configured."""
        return F.layer_norm(embedding, embedding.shape[-1:]) if self.config.normal_embedding else embedding

    def predict(
        self, embedding: Tensor, pose: Tensor, action: Tensor, next_pose: Tensor, tokens: Tensor | None = None
    ) -> Prediction:
        """Predict the embedding after one move.

        ``embedding [B, D]``; ``pose`` and ``next_pose [B, 3]``: pan and tilt in degrees, zoom as magnification;
        ``action [B, 3]``: the change that was asked for, in the same units. ``tokens [B, N, C]`` of the same view help
        a predictor that reads them; other predictors take no notice.
        """
        places = None if tokens is None else torch.arange(tokens.shape[1], device=tokens.device)
        foreseen = self._foresee(embedding, pose, action.unsqueeze(1), next_pose.unsqueeze(1), tokens, places)
        guesses = self.judge.guesses(foreseen) if torch.is_grad_enabled() else None
        return Prediction(
            foreseen.embedding.squeeze(1),
            self.judge(foreseen, next_pose.unsqueeze(1)).squeeze(1),
            None if guesses is None else guesses.squeeze(1),
            None if foreseen.tokens is None else foreseen.tokens.squeeze(1),
        )

    def predict_pairs(self, encoding: Encoding, poses: Tensor, places: Tensor | None = None) -> Pairs:
        """Predict every view of a trajectory from every other; the action is the difference of their poses.

        ``encoding`` of ``[B, V, N, C]`` and ``[B, V, D]``, ``poses [B, V, 3]``, ``places [K]`` as the predictor's.
        """
        views = poses.shape[1]
        every = torch.arange(views, device=poses.device)
        others = torch.stack([every[every != view] for view in range(views)])
        start = poses.flatten(0, 1)
        ends = poses[:, others].flatten(0, 1)
        action = ends - start.unsqueeze(1)
        action = torch.cat([(action[..., :1] + 180.0) % 360.0 - 180.0, action[..., 1:]], dim=-1)
        tokens, embedding = encoding.tokens.flatten(0, 1), encoding.embedding.flatten(0, 1)
        foreseen = self._foresee(embedding, start, action, ends, tokens, places)

        maps = foreseen.tokens
        return Pairs(
            _with_itself(foreseen.embedding, embedding.unsqueeze(1), others),
            None if maps is None or places is None else _with_itself(maps, copied_tokens(tokens, places), others),
        )

    def rollout(self, embedding: Tensor, poses: Tensor, actions: Tensor) -> Tensor:
        """Predict open loop along ``poses [B, T+1, 3]`` under ``actions [B, T, 3]``; returns ``[B, T, D]``."""
        return torch.stack([step.embedding for step in self.rollout_steps(embedding, poses, actions)], dim=1)

    def rollout_steps(self, embedding: Tensor, poses: Tensor, actions: Tensor) -> list[Prediction]:
        """As ``rollout``, with the surprise that is expected at every step."""
        steps: list[Prediction] = []
        for step in range(actions.shape[1]):
            prediction = self.predict(embedding, poses[:, step], actions[:, step], poses[:, step + 1])
            steps.append(prediction)
            embedding = prediction.embedding
        return steps

    def surprise(
        self,
        embedding: Tensor,
        pose: Tensor,
        action: Tensor,
        next_pose: Tensor,
        *,
        next_images: Tensor | None = None,
    ) -> Tensor:
        """Return the surprise ``[B]`` of moves: expected, or measured where ``next_images [B, 3, S, S]`` are given.

        Arguments as for ``predict``. Measured are the squared error and the gradient's magnitude; disagreement and
        progress are properties of what was learnt so far, and a view that is seen but not learnt from changes neither.
        """
        prediction = self.predict(embedding, pose, action, next_pose)
        if next_images is None or self.config.surprise in ("disagreement", "progress"):
            return prediction.surprise
        if self.config.surprise == "gradient":
            return self.gradient_surprise(prediction.embedding, next_images, next_pose)
        target = self.encode(next_images, next_pose).embedding
        return (prediction.embedding - target).float().square().mean(dim=-1)

    def gradient_surprise(self, predicted: Tensor, next_images: Tensor, next_pose: Tensor) -> Tensor:
        """Return how hard ``next_images`` pull on the encoder, of which ``predicted [B, D]`` was expected."""
        return gradient_magnitudes(self.encoder, self.settle, self.pixels(next_images, next_pose), predicted)

    def _foresee(
        self,
        embedding: Tensor,
        pose: Tensor,
        action: Tensor,
        next_pose: Tensor,
        tokens: Tensor | None,
        places: Tensor | None,
    ) -> Foreseen:
        foreseen: Foreseen = self.predictor(embedding, pose, action, next_pose, tokens, places)
        return foreseen


def _with_itself(foreseen: Tensor, itself: Tensor, others: Tensor) -> Tensor:
    """Return ``[B, V, V, …]`` of views foreseen from ``others [V, V − 1]``, ``[B·V, V − 1, …]``, and from themselves.

    The latter is no work for the predictor: no move, no change. ``itself [B·V, 1, …]``.
    """
    views = len(others)
    pairs = itself.to(foreseen.dtype).expand(-1, views, *itself.shape[2:]).reshape(-1, views, views, *itself.shape[2:])
    pairs = pairs.clone()
    pairs[:, torch.arange(views, device=others.device).unsqueeze(1), others] = foreseen.reshape(
        -1, views, views - 1, *foreseen.shape[2:]
    )
    return pairs


def _encoder(config: WorldModelConfig, external: nn.Module | None) -> ConvEncoder | VisionTransformer | ExternalEncoder:
    if config.encoder == "external":
        if external is None:
            raise ValueError(f"this world model needs the external encoder {config.external!r}, and none was given")
        return ExternalEncoder(config, external)
    if external is not None:
        raise ValueError("an external encoder was given, and this world model has its own")
    return VisionTransformer(config) if config.encoder == "vit" else ConvEncoder(config)
