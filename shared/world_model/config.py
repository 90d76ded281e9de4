"""What defines a world model's networks: enough to build them again from a checkpoint."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

PresetName = Literal["tiny", "small", "ptzjepa"]
SurpriseName = Literal["error", "disagreement", "progress", "gradient"]

_PRESETS: dict[str, dict[str, Any]] = {
    "tiny": {},
    "small": {
        "image_size": 96,
        "widths": (32, 64, 128, 256),
        "summary_hidden": 256,
        "embedding_size": 256,
        "hidden_size": 512,
        "blocks": 4,
    },
    "ptzjepa": {
        "image_size": 224,
        "encoder": "vit",
        "predictor": "tokens",
        "embedding_size": 192,
        "hidden_size": 384,
        "blocks": 12,
        "pairs": True,
    },
}
_TINY_SMALL = 64
_TINY_LARGE: dict[str, Any] = {"widths": (16, 32, 64, 64), "summary_hidden": 176}
"""Of larger views the summary reads more places; with fewer channels ``tiny`` stays below 1.5 M parameters."""


class WorldModelConfig(BaseModel):
    """Kinds and sizes of encoder, predictor and surprise. The defaults are ``tiny``: for CPUs and Jetsons."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: PresetName = Field(default="tiny", description="the preset that the other fields began as")
    encoder: Literal["conv", "vit", "external"] = Field(
        default="conv", description="external: a frozen network given from outside"
    )
    image_size: int = Field(default=64, ge=16, le=512, description="side of the square view, pixels")
    zoom_channel: bool = Field(
        default=False, description="log zoom as a fourth input channel; what probes find of zoom is then no finding"
    )
    widths: tuple[int, ...] = Field(default=(16, 32, 64, 128), min_length=2, max_length=6, description="conv: a stage")
    summary_hidden: int = Field(
        default=192, ge=0, le=4096, description="conv: width of the layer between map and embedding; 0: none"
    )
    patch_size: int = Field(default=14, ge=2, le=64, description="vit: side of a patch, pixels")
    encoder_width: int = Field(default=192, ge=16, le=2048, description="vit: numbers per token")
    encoder_depth: int = Field(default=12, ge=1, le=48, description="vit: blocks")
    encoder_heads: int = Field(default=3, ge=1, le=32, description="vit: heads of attention")
    external: str = Field(default="", max_length=200, description="external: name of the encoder that is needed")
    external_tokens: int = Field(default=0, ge=0, le=65536, description="external: tokens a view; 0: one embedding")
    external_width: int = Field(default=0, ge=0, le=65536, description="external: numbers per token or embedding")
    embedding_size: int = Field(default=128, ge=8, le=4096)
    normal_embedding: bool = Field(
        default=False, description="embeddings are layer-normalised, as the targets of the objective ema are"
    )
    predictor: Literal["mlp", "tokens"] = Field(default="mlp", description="tokens: attends to the spatial map as well")
    hidden_size: int = Field(default=224, ge=8, le=4096, description="width of the predictor")
    blocks: int = Field(default=2, ge=1, le=32, description="depth of the predictor")
    predictor_heads: int = Field(default=6, ge=1, le=32, description="tokens: heads of attention")
    pairs: bool = Field(default=False, description="learn from all ordered pairs of a trajectory's views as well")
    token_places: int = Field(
        default=64,
        ge=1,
        le=65536,
        description="tokens: predicted of each pair in a training step; every step draws anew",
    )
    pan_harmonics: int = Field(default=8, ge=1, le=64)
    tilt_harmonics: int = Field(default=6, ge=1, le=64)
    zoom_harmonics: int = Field(default=2, ge=1, le=16)
    surprise: SurpriseName = Field(default="error", description="what surprise is: see shared.world_model.surprise")
    members: int = Field(default=5, ge=2, le=64, description="disagreement: heads in the ensemble")
    member_size: int = Field(default=32, ge=1, le=4096, description="disagreement: width of a head's hidden layer")

    @classmethod
    def from_preset(cls, name: str, **changes: Any) -> Self:
        """Return the preset called ``name`` with some fields changed. ``ValueError`` if there is none of that name."""
        if name not in _PRESETS:
            raise ValueError(f"no preset {name!r}: there are {', '.join(_PRESETS)}")
        fields = {"preset": name, **_PRESETS[name], **changes}
        if name == "tiny" and fields.get("image_size", 0) > _TINY_SMALL:
            fields = {**_TINY_LARGE, **fields}
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            raise ValueError(f"{'.'.join(map(str, first['loc'])) or name}: {first['msg']}") from error

    @property
    def harmonics(self) -> tuple[int, int, int]:
        """Harmonics of pan, tilt and zoom."""
        return self.pan_harmonics, self.tilt_harmonics, self.zoom_harmonics

    @property
    def channels(self) -> int:
        """Channels that the encoder reads."""
        return 4 if self.zoom_channel else 3

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.encoder == "vit":
            if self.image_size % self.patch_size:
                raise ValueError(f"image_size {self.image_size} is no multiple of patch_size {self.patch_size}")
            if self.encoder_width % (4 * self.encoder_heads):
                raise ValueError(f"encoder_width {self.encoder_width} is no multiple of 4 × encoder_heads")
        if self.predictor == "tokens" and self.hidden_size % self.predictor_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of predictor_heads {self.predictor_heads}")
        if self.encoder == "external":
            self._external_fits()
        return self

    def _external_fits(self) -> None:
        if not self.external or not self.external_width:
            raise ValueError("an external encoder needs a name (external) and a size (external_width)")
        if self.zoom_channel:
            raise ValueError("an external encoder reads three channels: zoom_channel must be off")
        if self.external_tokens == 0 and self.external_width != self.embedding_size:
            raise ValueError(f"external_width {self.external_width} is not embedding_size {self.embedding_size}")
        if self.external_tokens == 0 and self.surprise == "gradient":
            raise ValueError("surprise by gradient needs an encoder that learns, and a frozen embedding has no weights")
