"""What a visitor may not reach: files beside the uploads, other checkpoints, code in pickles, other visitors' clips."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from components.core.catalog import ROOT
from tests.ui.test_api import FILE, call, refused, upload


@pytest.fixture(scope="module")
def secret(tmp_path_factory, clip_file) -> Path:
    """A clip of the server's own, which would be transcribed, were its path taken."""
    return Path(shutil.copy(clip_file, tmp_path_factory.mktemp("server") / "secret.wav"))


def outside(secret: Path, uploaded: str) -> list[str]:
    """Ways to write the path of a file outside the uploads."""
    beside = Path(uploaded).parent
    up = "/".join([".."] * len(beside.parts))
    return [
        str(secret),
        f"{beside}/{up}{secret}",
        f"file://{secret}",
        f"{uploaded}/../{up}{secret}",
        "/proc/self/environ",
    ]


def test_no_path_outside_the_uploads_is_read(http, clip_file, secret):
    uploaded = upload(http, clip_file)["path"]
    for path in outside(secret, uploaded):
        for form in ({"path": path, "meta": FILE}, {"path": path, "url": path, "meta": FILE}, {"path": path}):
            if "://" in path:
                assert http.post("/call/v2/compare", json={"audio": form}).status_code == httpx.codes.BAD_REQUEST
                continue
            event, data = call(http, "compare", {"audio": form})
            assert event == "error", path
            assert "secret" not in str(data)


def test_a_link_in_the_uploads_folder_is_not_made_by_an_upload(http, clip_file, secret):
    """A name with a path in it is only a name."""
    files = {"files": (f"../../{secret.name}", clip_file.read_bytes())}
    (path,) = http.post("/upload", files=files).raise_for_status().json()
    assert Path(path).name == secret.name
    assert ".." not in Path(path).parts
    assert Path(path).resolve() != secret


@pytest.mark.parametrize("file", ["README.md", "app.py", "components/core/settings.py", "requirements.txt"])
def test_no_file_of_the_server_is_served(http, url, file):
    for address in (f"{http.base_url}file={ROOT / file}", f"{url}/file={ROOT / file}", f"{url}/{quote('../' + file)}"):
        response = httpx.get(address)
        assert response.status_code in {403, 404, 405}, address


def test_no_address_is_fetched_for_a_visitor(http):
    """The server would otherwise reach what only it can reach."""
    for url in ("http://127.0.0.1:9/clip.wav", "http://169.254.169.254/latest/meta-data", "ftp://127.0.0.1/a.wav"):
        answer = http.post("/call/v2/compare", json={"audio": {"path": url, "url": url, "meta": FILE}})
        assert answer.status_code == httpx.codes.BAD_REQUEST
        assert "link" in answer.json()["detail"]


@pytest.mark.parametrize(
    "name", ["openai/whisper-tiny", "/etc", "../checkpoints/teacher", "small.en", "custom/../custom"]
)
def test_a_visitor_names_no_checkpoint(http, clip_file, name):
    """``small.en`` is in the catalogue and not offered here."""
    assert "Choose from: custom, large-v2." in refused(http, {"audio": upload(http, clip_file), "pair": name})
    event, data = call(http, "models", {"pair": name})
    assert event == "error"
    assert "Choose from: custom, large-v2." in data["error"]


def test_the_settings_of_the_server_do_not_show(http, url, lab):
    shown = http.get("/info").text + http.get("/openapi.json").text + httpx.get(url).text
    assert str(lab.settings.teacher_checkpoint) not in shown
    assert str(ROOT) not in shown
