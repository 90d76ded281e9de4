"""Draw the two pictures that Waggle's registry shows of each app: ``python services/draw_pictures.py``.

``ecr-icon.jpg``, 512 by 512 pixels, and ``ecr-science-image.jpg``, 1920 by 1080: all services and how they talk, the
app's own ones in colour.
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

SERVICES = Path(__file__).resolve().parent
ICON, PICTURE = (512, 512), (1920, 1080)
PAPER, INK, PALE, ACCENT = "#f7f5f0", "#22303c", "#d9dde0", "#c8553d"

BOXES = {
    "camera": (110, 430),
    "camera-sampler": (460, 430),
    "world-model-trainer": (1010, 200),
    "lock-broker": (1520, 430),
    "dream-generator": (1010, 430),
    "rl-agent": (1010, 660),
}
"""Where each service stands in the picture: its box's left upper corner."""
WIDTH, HEIGHT = 290, 130
ARROWS = (
    ("camera", "camera-sampler", ""),
    ("camera-sampler", "world-model-trainer", "views"),
    ("world-model-trainer", "dream-generator", "world model"),
    ("dream-generator", "rl-agent", "dreams"),
    ("rl-agent", "camera-sampler", "commands"),
    ("lock-broker", "world-model-trainer", "leases"),
    ("lock-broker", "rl-agent", "leases"),
)
APPS: dict[str, tuple[str, set[str]]] = {
    "camera-sampler": ("Looks around with a pan-tilt-zoom camera", {"camera-sampler"}),
    "world-model-trainer": ("Learns to predict what the camera will see next", {"world-model-trainer"}),
    "dream-generator": ("Imagines moves that nobody made", {"dream-generator"}),
    "rl-agent": ("Steers the camera to where the model is ignorant", {"rl-agent"}),
    "lock-broker": ("Lends world models, agents and cameras", {"lock-broker"}),
    "node": ("A curious camera, whole, in one container", set(BOXES) - {"camera"}),
}
"""Each app with its line and the services in it."""


def main() -> int:
    """Draw all pictures anew."""
    for app, (line, own) in APPS.items():
        folder = SERVICES / app / "ecr-meta"
        folder.mkdir(parents=True, exist_ok=True)
        icon(app, own).save(folder / "ecr-icon.jpg", quality=85, optimize=True)
        picture(line, own).save(folder / "ecr-science-image.jpg", quality=70, optimize=True)
    return 0


def icon(app: str, own: set[str]) -> Image.Image:
    """A camera's dome, its field of view, and the app's name."""
    image = Image.new("RGB", ICON, INK)
    draw = ImageDraw.Draw(image)
    draw.pieslice((56, 40, 456, 440), 35, 145, fill="#3c4f5e")
    angle = 50 + 13 * list(APPS).index(app)
    draw.pieslice((56, 40, 456, 440), angle - 9, angle + 9, fill=ACCENT)
    draw.pieslice((166, 130, 346, 310), 180, 360, fill=PAPER)
    draw.rectangle((166, 218, 346, 236), fill=PAPER)
    draw.ellipse((206, 190, 306, 290), fill=INK, outline=PAPER, width=12)
    draw.ellipse((238, 222, 274, 258), fill=ACCENT)
    draw.text((256, 478), app, PAPER, ImageFont.load_default(40), anchor="mm")
    return image


def picture(line: str, own: set[str]) -> Image.Image:
    """All services and what goes between them; the app's own ones in colour."""
    image = Image.new("RGB", PICTURE, PAPER)
    draw = ImageDraw.Draw(image)
    for source, target, what in ARROWS:
        arrow(draw, middle(source), middle(target), what, {source, target} & own != set())
    for name, (left, top) in BOXES.items():
        colour = ACCENT if name in own else PALE
        draw.rounded_rectangle((left, top, left + WIDTH, top + HEIGHT), 18, fill=colour, outline=INK, width=3)
        ink = PAPER if name in own else INK
        draw.text(middle(name), name, ink, ImageFont.load_default(28), anchor="mm")
    draw.text((960, 930), line, INK, ImageFont.load_default(52), anchor="mm")
    draw.text((960, 1010), "PTZJEPA", INK, ImageFont.load_default(32), anchor="mm")
    return image


def middle(name: str) -> tuple[int, int]:
    """The middle of a service's box."""
    left, top = BOXES[name]
    return left + WIDTH // 2, top + HEIGHT // 2


def arrow(draw: ImageDraw.ImageDraw, start: tuple[int, int], end: tuple[int, int], what: str, strong: bool) -> None:
    """A line from box to box with a head at half way, and a word beside it."""
    colour = INK if strong else "#9aa5ad"
    draw.line((*start, *end), colour, width=5)
    centre = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    length = max(((end[0] - start[0]) ** 2 + (end[1] - start[1]) ** 2) ** 0.5, 1.0)
    along = ((end[0] - start[0]) / length, (end[1] - start[1]) / length)
    tip = (centre[0] + 18 * along[0], centre[1] + 18 * along[1])
    wings = [(centre[0] + side * 12 * along[1], centre[1] - side * 12 * along[0]) for side in (-1, 1)]
    draw.polygon([tip, *wings], fill=colour)
    font, place = ImageFont.load_default(26), (centre[0], centre[1] - 34)
    if what:
        draw.rectangle(draw.textbbox(place, what, font, anchor="mm"), fill=PAPER)
        draw.text(place, what, colour, font, anchor="mm")


if __name__ == "__main__":
    sys.exit(main())
