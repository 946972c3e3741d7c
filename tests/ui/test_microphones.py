"""The route by which browsers send what they record, behind the gate."""

from __future__ import annotations

import httpx
import pytest
from starlette.applications import Starlette

from components.core.errors import BusyError, WhisperSpaceError
from components.ui import microphones
from components.ui.gate import Gate, Limits
from components.ui.microphones import Microphones

NAME, OTHER = "0" * 32, "a" * 32
PIECE = b"\x01\x00" * 4_000


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


pytestmark = pytest.mark.anyio


def client(recordings: Microphones) -> httpx.AsyncClient:
    app = Gate(Starlette(routes=[recordings.route()]), Limits(upload_bytes=10_000, piece_bytes=10_000))
    transport = httpx.ASGITransport(app, client=("203.0.113.5", 1234))
    return httpx.AsyncClient(transport=transport, base_url="http://space.test")


async def test_pieces_are_answered_with_what_is_wanted_next():
    recordings = Microphones(60)
    microphone = recordings.open(NAME, 16_000, None)
    async with client(recordings) as http:
        for start, received in ((0, 4_000), (0, 4_000), (9_000, 4_000), (4_000, 8_000)):
            answer = await http.post(f"/microphone/{NAME}?start={start}", content=PIECE)
            assert answer.json() == {"received": received, "ended": False}
        answer = await http.post(f"/microphone/{NAME}?start=8000&last=1")
        assert answer.json() == {"received": 8_000, "ended": True}
    assert len(microphone.recording) == 8_000


async def test_only_who_knows_the_name_of_an_open_recording_adds_to_it():
    recordings = Microphones(60)
    microphone = recordings.open(NAME, 16_000, None)
    async with client(recordings) as http:
        assert (await http.post(f"/microphone/{OTHER}?start=0", content=PIECE)).status_code == 404
        assert (await http.post("/microphone/short?start=0", content=PIECE)).status_code == 404
        foreign = {"origin": "https://elsewhere.example"}
        answer = await http.post(f"/microphone/{NAME}?start=0", content=PIECE, headers=foreign)
        assert answer.status_code == 403
        recordings.close(microphone)
        assert (await http.post(f"/microphone/{NAME}?start=0", content=PIECE)).status_code == 404
    assert (microphone.received, microphone.ended, len(recordings)) == (0, True, 0)


@pytest.mark.parametrize(
    ("query", "content", "status"),
    [("start=0", bytes(10_001), 413), ("start=-1", PIECE, 400), ("start=" + "9" * 40, PIECE, 400), ("", PIECE, 400)],
)
async def test_a_piece_out_of_bounds_is_refused_in_words(query, content, status):
    recordings = Microphones(60)
    recordings.open(NAME, 16_000, None)
    async with client(recordings) as http:
        answer = await http.post(f"/microphone/{NAME}?{query}", content=content)
    assert (answer.status_code, bool(answer.json()["detail"])) == (status, True)


def test_a_client_and_the_page_have_so_many_recordings_at_once(monkeypatch):
    monkeypatch.setattr(microphones, "MOST_OF_A_CLIENT", 2)
    monkeypatch.setattr(microphones, "MOST", 3)
    recordings = Microphones(60)
    first = recordings.open(f"{1:032x}", 16_000, "a")
    recordings.open(f"{2:032x}", 16_000, "a")
    with pytest.raises(BusyError):
        recordings.open(f"{3:032x}", 16_000, "a")
    recordings.open(f"{4:032x}", 16_000, "b")
    with pytest.raises(BusyError):
        recordings.open(f"{5:032x}", 16_000, "c")
    recordings.close(first)
    recordings.open(f"{6:032x}", 16_000, "a")


@pytest.mark.parametrize("name", ["", "abc", "../" + "0" * 29, "0" * 33])
def test_a_name_that_could_be_guessed_is_refused(name):
    with pytest.raises(WhisperSpaceError):
        Microphones(60).open(name, 16_000, None)


def test_a_name_is_taken_once():
    recordings = Microphones(60)
    recordings.open(NAME, 16_000, None)
    with pytest.raises(WhisperSpaceError):
        recordings.open(NAME, 16_000, None)
