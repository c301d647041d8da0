"""What lies in deploy/, as far as it can be run without the machines it is for."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from PIL import Image

from fluxsite.tests.test_start_site import PROC, ROOT, Site, free_port, running, wait_for

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("fluxsite*"))
MB = 1024 * 1024

needs_nginx = [
    pytest.mark.skipif(shutil.which("nginx") is None, reason="no nginx found"),
    pytest.mark.skipif(not PROC.is_dir(), reason="looks at processes through /proc"),
]


# ---------------------------------------------------------------- systemd
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd found")
def test_systemd_understands_the_units(tmp_path):
    for unit in UNITS:
        # It looks whether the programs are there.
        text = unit.read_text().replace("/srv/fluxsite/run", str(ROOT / "run"))
        (tmp_path / unit.name).write_text(text)

    verified = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )

    about_ours = [line for line in verified.stderr.splitlines() if "fluxsite" in line]
    assert [line for line in about_ours if "man page" not in line] == []


def test_units_ask_the_leader_first_and_wait_for_longer_than_it_needs():
    for unit in UNITS:
        text = unit.read_text()
        if "Type=oneshot" in text or unit.suffix == ".timer":
            continue
        assert "KillMode=mixed" in text
        assert int(re.search(r"TimeoutStopSec=(\d+)", text)[1]) >= 45


# ---------------------------------------------------------------- the container
def test_the_health_check_of_the_image_tells_a_site_from_none(tmp_path):
    port = free_port()
    env = {"PATH": os.environ["PATH"], "PORT": str(port), "ALLOWED_HOSTS": ".studio.example.org"}
    check = [sys.executable, str(DEPLOY / "healthcheck.py")]

    assert subprocess.run(check, env=env, check=False).returncode == 1
    with socket.create_server(("127.0.0.1", port)) as listener:
        asking = subprocess.Popen(check, env=env)
        visitor, _address = listener.accept()
        with visitor:
            request = visitor.recv(4096).decode()
            visitor.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert asking.wait(10) == 0
    assert request.startswith("GET /healthz ")
    assert "Host: studio.example.org\r\n" in request


def test_the_image_gets_every_lock_and_leaves_out_what_must_not_leave():
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    locks = {path.stem for path in ROOT.glob("requirements*.txt")} - {"requirements-dev"}

    assert set(re.search(r"for lock in (.*?);", dockerfile)[1].split()) == locks
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split("\n")
    assert {".git", "data", "**/.env", ".venv"} <= set(ignored)


def test_every_value_that_compose_wants_is_in_the_example_and_empty_where_it_is_secret():
    text = (DEPLOY / "compose.yaml").read_text()
    wanted = set(re.findall(r"\$\{([A-Z_]+)", text))
    example = dict(
        line.split("=", 1)
        for line in (DEPLOY / "env.example").read_text().splitlines()
        if "=" in line and not line.startswith("#")
    )
    services = yaml.safe_load(text)["services"]

    assert wanted <= set(example)
    assert {example[name] for name in re.findall(r"\$\{([A-Z_]+):\?", text)} == {""}
    assert [services[name]["command"] for name in ("web", "workers")] == [
        ["start", "--only", "web"],
        ["start", "--only", "workers"],
    ]
    assert services["proxy"]["user"] in (DEPLOY / "Dockerfile").read_text()


# ---------------------------------------------------------------- nginx
class Front:
    """nginx with the configuration of compose.yaml, before a site on this machine."""

    def __init__(self, directory: Path, site: Site) -> None:
        self.site = site
        self.port = free_port()
        self.media = Path(site.env["DATA_DIR"]) / "media"
        here = {
            "web:8000": f"127.0.0.1:{site.port}",
            "listen 8080": f"listen 127.0.0.1:{self.port}",
            "/etc/fluxsite": str(directory),
            "include /etc/nginx/mime.types;": "",
            "/data/media": str(self.media),
            "/tmp/": f"{directory}/",
        }
        for name in ("compose.conf", "locations.conf"):
            text = re.sub(
                "|".join(map(re.escape, here)),
                lambda match: here[match[0]],
                (DEPLOY / "nginx" / name).read_text(),
            )
            (directory / name).write_text(text)
        # The container begins as the user of the site.
        user = "user root;" if os.geteuid() == 0 else ""
        self.command = [
            *("nginx", "-c", str(directory / "compose.conf"), "-p", str(directory)),
            *("-e", "stderr", "-g", f"daemon off; {user}"),
        ]
        self.log = directory / "nginx.log"

    def start(self) -> None:
        with self.log.open("w") as log:
            self.process = subprocess.Popen(self.command, stderr=log, stdout=log)
        wait_for(lambda: self.process.poll() is not None or self._listens())
        assert self.process.poll() is None, self.log.read_text()

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request(method, path, body, named)
            response = connection.getresponse()
            return response, response.read()


PREPARE = """
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
visitor = Client()
visitor.force_login(User.objects.get(username="admin"))
print(visitor.cookies["sessionid"].value, settings.STATIC_URL)
"""
LAST_FAILURE = """
from fluxsite.models import FailedLogin
print(FailedLogin.objects.get(username="nobody").ip_address)
"""


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    directory = tmp_path_factory.mktemp("nginx")
    data = tmp_path_factory.mktemp("site")
    with running(data, MEDIA_X_ACCEL="/protected", BEHIND_PROXY="1", WEB_THREADS="4") as site:
        front = Front(directory, site)
        front.start()
        yield front
        front.stop()


@pytest.fixture(scope="module")
def bearer(front: Front) -> str:
    return f"Bearer {front.site.manage('create_token', 'admin').split()[-1]}"


@pytest.fixture(scope="module")
def prepared(front: Front) -> tuple[str, str]:
    session, static = front.site.manage("shell", "-v0", "-c", PREPARE).split()
    return f"sessionid={session}", static


class TestBehindNginx:
    pytestmark = needs_nginx

    def test_nginx_accepts_the_configuration(self, front: Front):
        tested = subprocess.run([*front.command, "-t"], capture_output=True, text=True, check=False)

        assert tested.returncode == 0, tested.stderr
        assert "[warn]" not in tested.stderr.replace('the "user" directive', "")

    def test_styles_come_with_the_name_of_their_release(self, front: Front, prepared):
        response, body = front.ask("GET", f"{prepared[1]}css/base.css")

        assert response.status == 200
        assert "immutable" in response.headers["Cache-Control"]
        assert body

    def test_nginx_sends_pictures_to_whoever_the_site_lets_see_them(self, front: Front, bearer):
        picture = front_picture(front, bearer)
        (file,) = [p for p in (front.media / "uploads").rglob("*.png") if "-" not in p.stem]

        response, body = front.ask("GET", picture, Authorization=bearer)

        assert response.status == 200
        assert body == file.read_bytes()
        assert response.headers["Content-Type"] == "image/png"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert response.headers["Cache-Control"].startswith("private")
        # Which the site itself cannot do.
        part, some = front.ask("GET", picture, Authorization=bearer, Range="bytes=0-7")
        assert (part.status, some) == (206, body[:8])
        stranger, _body = front.ask("GET", picture)
        assert stranger.status in {302, 403, 404}
        name = file.relative_to(front.media).as_posix()
        direct, _body = front.ask("GET", f"/protected/{name}", Authorization=bearer)
        assert direct.status == 404

    def test_live_status_comes_while_the_answer_goes_on(self, front: Front, prepared, bearer):
        with closing(http.client.HTTPConnection("127.0.0.1", front.port, timeout=60)) as stream:
            stream.request("GET", "/studio/events", headers={"Cookie": prepared[0]})
            response = stream.getresponse()
            assert response.status == 200
            assert response.headers["Content-Type"].startswith("text/event-stream")
            body = json.dumps({"prompt": "told of at once"}).encode()
            made, _body = front.ask(
                "POST",
                "/api/flux/text-to-image",
                body,
                Authorization=bearer,
                Content_Type="application/json",
            )
            assert made.status == 202
            task = json.loads(_body)["id"]
            # Were it collected, nothing would come before five minutes are over.
            seen = b""
            while task.encode() not in seen:
                seen += response.read1(4096)

    def test_a_large_upload_passes_and_one_that_is_too_large_is_told_so(self, front: Front, bearer):
        large = io.BytesIO()
        Image.frombytes("RGB", (1700, 1700), os.urandom(1700 * 1700 * 3)).save(large, "PNG")
        assert 8 * MB < large.tell() < 10 * MB

        assert upload(front, bearer, large.getvalue())[0] == 201
        # By the site, which says why.
        status, answer = upload(front, bearer, large.getvalue() + bytes(4 * MB))
        assert status in {400, 413}
        assert json.loads(answer)["code"]
        status, _answer = upload(front, bearer, bytes(85 * MB))
        assert status == 413

    def test_whoever_makes_up_an_address_is_known_by_their_own(self, front: Front):
        page, body = front.ask("GET", "/login")
        token = re.search(rb'name="csrfmiddlewaretoken" value="([^"]+)"', body)[1].decode()
        cookie = page.headers["Set-Cookie"].split(";")[0]
        form = f"username=nobody&password=guess&csrfmiddlewaretoken={token}".encode()

        front.ask(
            "POST",
            "/login",
            form,
            Cookie=cookie,
            Content_Type="application/x-www-form-urlencoded",
            X_Forwarded_For="203.0.113.9",
        )

        assert front.site.manage("shell", "-v0", "-c", LAST_FAILURE).strip() == "127.0.0.1"


def upload(front: Front, bearer: str, content: bytes) -> tuple[int, bytes]:
    head = (
        b'--frontier\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n"
    )
    body = head + content + b"\r\n--frontier--\r\n"
    try:
        response, answer = front.ask(
            "POST",
            "/api/flux/upload-image",
            body,
            Authorization=bearer,
            Content_Type="multipart/form-data; boundary=frontier",
        )
    except (BrokenPipeError, ConnectionResetError):
        return 413, b""  # nginx answers before it has read all, and hangs up.
    return response.status, answer


def front_picture(front: Front, bearer: str) -> str:
    """Bring a picture; return its address."""
    content = io.BytesIO()
    Image.new("RGB", (96, 64), "teal").save(content, "PNG")
    status, answer = upload(front, bearer, content.getvalue())
    assert status == 201, answer
    return f"/media/{json.loads(answer)['id']}"
