"""``ptzjepa camera`` as real processes: one emulates, another probes."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from ptzjepa.camera_brands import BRANDS
from tests.support import REPOSITORY, Process, until

PASSWORD = "p@ss:w/rd?x"


@pytest.fixture(scope="module", params=list(BRANDS))
def camera(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """An emulated camera's brand and URL."""
    directory = tmp_path_factory.mktemp("camera")
    Image.effect_noise((256, 128), 90).convert("RGB").save(directory / "noise.png")
    words = ["-m", "ptzjepa", "camera", "emulate", "--brand", request.param, "--user", "operator"]
    words += ["--panorama", str(directory / "noise.png")]
    with Process(directory, *words, camera_password=PASSWORD) as process:
        until(lambda: "password  as given" in process.log, lambda: process.log)
        yield request.param, process.log.split()[1]
        process.send(signal.SIGINT)
        assert process.wait() == 0
        assert PASSWORD not in process.log
        assert "Traceback" not in process.log


def probe(
    url: str, *options: str, password: str = PASSWORD, user: str = "operator", magnification: str = "32", **more: str
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PTZ_")}
    environment |= {"COLUMNS": "80", "PTZ_CAMERA_USER": user, "PTZ_CAMERA_PASSWORD": password}
    environment |= {"PTZ_CAMERA_MAGNIFICATION": magnification, **more}
    words = [sys.executable, "-m", "ptzjepa", "camera", "probe", url, *options]
    done = subprocess.run(
        words, capture_output=True, text=True, env=environment, cwd=REPOSITORY, check=False, stdin=subprocess.DEVNULL
    )
    for said in (done.stdout, done.stderr):
        assert not password or password not in said
        assert "Traceback" not in said
    return done


def assert_fails(done: subprocess.CompletedProcess[str], *words: str, code: int = 1) -> None:
    assert done.returncode == code, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0]


def test_says_what_the_camera_is(camera: tuple[str, str], tmp_path: Path) -> None:
    brand, url = camera
    done = probe(url, "--picture", str(tmp_path / "p.jpg"))
    assert (done.returncode, done.stderr) == (0, "")
    told = " ".join(done.stdout.split())
    for words in (
        BRANDS[brand].title,
        "firmware",
        "login works",
        "tilt -20° to 90°",
        "pan 0.00°, tilt 0.00°",
        "640 × 360",
        " ms",
    ):
        assert words in told
    assert max(map(len, done.stdout.splitlines())) <= 80
    with Image.open(tmp_path / "p.jpg") as image:
        assert image.size == (640, 360)


def test_says_it_to_machines(camera: tuple[str, str]) -> None:
    brand, url = camera
    done = probe(url, "--json", "--brand", brand)
    found = json.loads(done.stdout)
    assert (found["ok"], found["brand"], found["login"]) == (True, brand, "works")
    assert found["limits"]["zoom_max"] == 32.0
    assert found["pose"]["zoom"] == 1.0
    assert {"limits", "pose", "picture"} <= {item["question"] for item in found["findings"]}
    assert all(item["seconds"] >= 0.0 and item["kind"] is None for item in found["findings"])


def test_a_wrong_password_is_sent_once(camera: tuple[str, str]) -> None:
    # Two attempts a run would lock the account of a Hanwha camera, which allows four in a row.
    for _ in range(3):
        assert_fails(probe(camera[1], password="wr0ng-one"), "login:", "refuses this user and password")
    assert probe(camera[1]).returncode == 0


def test_a_login_is_asked_for(camera: tuple[str, str]) -> None:
    assert_fails(probe(camera[1], user="", password=""), "asks for a login", "--user")


def test_the_wrong_brand_fails(camera: tuple[str, str]) -> None:
    other = next(name for name in BRANDS if name != camera[0])
    done = probe(camera[1], "--brand", other)
    assert done.returncode == 1
    assert all(line.startswith("error: ") for line in done.stderr.splitlines())


def test_the_password_is_asked_for_on_a_terminal(camera: tuple[str, str]) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PTZ_")}
    environment["PTZ_CAMERA_MAGNIFICATION"] = "32"
    words = [sys.executable, "-m", "ptzjepa", "camera", "probe", camera[1], "--user", "operator"]
    ours, theirs = pty.openpty()
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, cwd=REPOSITORY, env=environment)
    os.close(theirs)
    said = b""
    # The end of a terminal is an error.
    with contextlib.suppress(OSError):
        while chunk := os.read(ours, 4096):
            said += chunk
            if said.endswith(b"operator: "):
                os.write(ours, PASSWORD.encode() + b"\n")
    os.close(ours)
    assert process.wait(20.0) == 0, said
    assert b"works" in said
    assert PASSWORD.encode() not in said


def test_an_onvif_camera_needs_its_magnification(camera: tuple[str, str]) -> None:
    done = probe(camera[1], magnification="")
    if camera[0] != "onvif":
        assert done.returncode == 0
        return
    assert_fails(done, "limits: ", "PTZ_CAMERA_MAGNIFICATION")
    told = " ".join(done.stdout.split())
    assert "ONVIF Emulated PTZ, firmware 1.0" in told
    assert "login works" in told


def test_limits_that_are_set_count(camera: tuple[str, str]) -> None:
    assert json.loads(probe(camera[1], "--json", PTZ_TILT_MIN="5").stdout)["limits"]["tilt_min"] == 5.0


@contextlib.contextmanager
def web_server(status: int, **headers: str) -> Iterator[str]:
    """A server that is no camera."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(b"<html>welcome</html>")

        def log_message(self, format: str, *args: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("status", [200, 404])
def test_a_web_server_is_no_camera(status: int) -> None:
    with web_server(status) as url:
        assert_fails(probe(url), "not as a camera by Hanwha, Axis or ONVIF does")


def test_a_login_of_no_known_brand_needs_a_word() -> None:
    with web_server(401, WWW_Authenticate='Digest realm="home", nonce="1", qop="auth"') as url:
        assert_fails(probe(url), "does not tell its brand", "--brand")


def test_nobody_there() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        assert_fails(probe(f"http://127.0.0.1:{listener.getsockname()[1]}"), "nobody listens")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["ftp://camera"], "URL"),
        (["http://admin:secret@camera"], "user or a password"),
        (["http://camera", "--brand", "acme"], "--brand"),
    ],
)
def test_wrong_input_is_one_line(words: list[str], named: str) -> None:
    done = probe(*words)
    assert_fails(done, named, code=2)
    assert "secret" not in done.stderr


def test_a_picture_that_cannot_be_saved(camera: tuple[str, str], tmp_path: Path) -> None:
    assert_fails(probe(camera[1], "--picture", str(tmp_path / "no" / "p.jpg")), "--picture", code=2)


def test_a_made_password_is_private_and_goes_with_the_camera(tmp_path: Path) -> None:
    Image.effect_noise((256, 128), 90).convert("RGB").save(tmp_path / "noise.png")
    words = ["-m", "ptzjepa", "camera", "emulate", "--brand", "axis", "--panorama", str(tmp_path / "noise.png")]
    with Process(tmp_path / "camera", *words) as process:
        until(lambda: "password  in " in process.log, lambda: process.log)
        url, path = process.log.split()[1], Path(process.log.split()[-1])
        assert path.stat().st_mode & 0o777 == 0o600
        password = path.read_text().strip()
        assert password not in process.log
        assert probe(url, user="admin", password=password).returncode == 0
        process.send(signal.SIGTERM)
        assert process.wait() == 0
        assert not path.exists()


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    Image.effect_noise((256, 128), 90).convert("RGB").save(tmp_path / "noise.png")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
        words = ["-m", "ptzjepa", "camera", "emulate", "--brand", "hanwha", "--panorama", str(tmp_path / "noise.png")]
        with Process(tmp_path / "camera", *words, "--port", str(listener.getsockname()[1])) as process:
            assert process.wait() == 2
            assert process.log.startswith("error: --port")
