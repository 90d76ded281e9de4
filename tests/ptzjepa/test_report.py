from __future__ import annotations

import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camera_sampler.simulation.scenes import open_scene
from ptzjepa.report.figures import AGENT, FLOOR, INK
from ptzjepa.report.page import render
from ptzjepa.report.sphere import path, seen, surprise_map
from ptzjepa.timeline import Look, Timeline
from tests.ptzjepa.synthetic import AGENT as AGENT_NAME
from tests.ptzjepa.synthetic import WORLD_MODEL, SyntheticRun, at

VOID = {"meta", "link", "img", "br"}
ASPECT = 9 / 16


class Page(HTMLParser):
    """Reads a page strictly: every element is closed, in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "srcset", "data"):
                self.addresses.append(value or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"{tag} closed out of order"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows, columns = np.mgrid[0:64, 0:128]
    path = tmp_path_factory.mktemp("panorama") / "test-card.png"
    Image.fromarray(np.stack([rows * 3, columns * 2, rows + columns], axis=2).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="module")
def html(picture: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    originals = tmp_path_factory.mktemp("originals")
    run = SyntheticRun(1.5, scene=open_scene(picture), originals=originals)
    return render(run.timeline, run.summary(), picture, originals, ASPECT)


def test_it_is_well_formed_and_complete(html: str) -> None:
    page = Page(html)
    words = " ".join(page.words)
    for heading in ("Where the camera looked", "What the world model learned", "What surprised it", "Services"):
        assert heading in words
    assert "The run is ok: all 7 checks passed" in words
    assert "copy-last (floor)" in words
    assert page.tags["img"] == 12, "two strips of six"
    assert len(page.ids) == len(set(page.ids))


def test_it_needs_nothing_from_outside(html: str) -> None:
    page = Page(html)
    for address in page.addresses:
        assert address.startswith(("data:", "#")), address[:80]
    targets = {address[1:] for address in page.addresses if address.startswith("#")}
    assert targets <= set(page.ids)
    assert not re.search(r"url\((?!data:|#|&quot;#|'?#)", html)
    assert not re.search(r"(?:https?:)?//[a-z]", re.sub(r"base64,[A-Za-z0-9+/=]+", "", html))
    assert "@import" not in html
    assert page.tags["script"] == 0


def test_charts_follow_the_pages_colours(html: str) -> None:
    assert "var(--model)" in html
    for placeholder in (INK, AGENT, FLOOR):
        assert placeholder not in html


def test_a_run_without_anything_still_has_a_report(picture: Path, tmp_path: Path) -> None:
    run = SyntheticRun(3.0)
    run.timeline = Timeline(WORLD_MODEL, AGENT_NAME, started=at(0).timestamp())
    run.seconds = 0.0
    page = Page(render(run.timeline, run.summary(), picture, tmp_path, ASPECT))
    words = " ".join(page.words)
    assert "The run is not ok" in words
    assert "The camera took no view in this run." in words
    assert "nothing measured" in words


def test_a_panorama_that_has_gone_costs_only_the_map(tmp_path: Path) -> None:
    run = SyntheticRun(0.5)
    page = Page(render(run.timeline, run.summary(), tmp_path / "gone.jpg", tmp_path, ASPECT))
    assert "What the world model learned" in " ".join(page.words)


def test_names_from_outside_are_escaped(picture: Path, tmp_path: Path) -> None:
    run = SyntheticRun(0.5)
    summary = run.summary() | {"command": "<script>alert(1)</script>"}
    text = render(run.timeline, summary, picture, tmp_path, ASPECT)
    assert "<script>" not in text


def look(pan: float, tilt: float, *, zoom: float = 1.0, episode: str = "a") -> Look:
    return Look("v", 0.0, pan, tilt, zoom, "random-walk", None, None, episode, None)


def test_seen_is_what_a_view_covers() -> None:
    visible = seen([look(0.0, 0.0)], ASPECT)
    assert visible.shape == (180, 360)
    columns = np.flatnonzero(visible[90])
    assert (columns[0], columns[-1]) == (150, 209), "60 degrees, centred on pan 0"
    rows = np.flatnonzero(visible[:, 180])
    assert rows[-1] - rows[0] + 1 == pytest.approx(36, abs=2), "9/16 of it in the tangent's plane"
    assert seen([look(0.0, 0.0, zoom=3.0)], ASPECT).sum() < visible.sum() / 6
    across = seen([look(-180.0, 0.0)], ASPECT)
    assert across[90, 0]
    assert across[90, -1]
    assert not across[90, 180]
    assert seen([look(0.0, 90.0)], ASPECT)[0].all(), "a view of the zenith touches every pan"


def test_the_way_breaks_at_the_seam_and_between_episodes() -> None:
    assert path([look(0, 0), look(10, 5), look(12, 5, episode="b")]) == "M0.0 0.0L10.0 -5.0M12.0 -5.0"
    assert path([look(175, 0), look(-175, 0)]) == "M175.0 0.0M-175.0 0.0"


def test_surprise_is_averaged_per_cell() -> None:
    found = surprise_map([(look(1, 1), 1.0), (look(2, 2), 3.0), (look(-1, -1), 5.0)])
    assert found is not None
    assert [(cell.pan, cell.tilt, cell.mean, cell.views) for cell in found.cells] == [
        (-15, -10, 5.0, 1),
        (0, 0, 2.0, 2),
    ]
    assert (found.low, found.high) == (2.0, 5.0)
    assert [cell.colour for cell in found.cells] == ["#fde725", "#440154"]
    assert surprise_map([]) is None
