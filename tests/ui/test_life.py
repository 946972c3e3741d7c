"""What stops a start is a sentence that names its variable."""

from __future__ import annotations

import logging
import socket

import pytest

from components.core.errors import SettingsError
from components.core.settings import Settings
from components.ui.life import SafeFormatter, check_address


@pytest.mark.parametrize("name", ["", "127.0.0.1", "0.0.0.0", "localhost"])
def test_an_address_of_this_machine_is_taken(name):
    check_address({"GRADIO_SERVER_NAME": name})


@pytest.mark.parametrize("name", ["[::1]", "300.1.1.1", "192.0.2.1", "no such name", "x" * 300])
def test_a_wrong_address_names_the_variable(name):
    with pytest.raises(SettingsError, match="GRADIO_SERVER_NAME"):
        check_address({"GRADIO_SERVER_NAME": name})


@pytest.mark.parametrize("port", ["eighty", "0", "-1", "65536", "99999999999", "7860.0"])
def test_a_wrong_port_names_the_variable(port):
    with pytest.raises(SettingsError, match="GRADIO_SERVER_PORT"):
        check_address({"GRADIO_SERVER_PORT": port})


def test_a_port_in_use_names_the_variable():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SettingsError, match="GRADIO_SERVER_PORT"):
            check_address({"GRADIO_SERVER_PORT": str(taken.getsockname()[1])})


def logged(message: str, *values: object, secret: str | None = None, error: BaseException | None = None) -> str:
    info = (type(error), error, None) if error else None
    record = logging.LogRecord("test", logging.INFO, "file", 1, message, values, info)
    return SafeFormatter(secret).format(record)


@pytest.mark.parametrize("forged", ["a\nINFO b", "a\r\nb", "a\x1b[2Jb", "a\u2028b", "a\x85b", "a\x00b"])
def test_a_log_line_stays_one_line(forged):
    line = logged("refused: %s", forged)
    assert line.isprintable()
    assert len(line.splitlines()) == 1


def test_the_token_is_in_no_log_line():
    line = logged(
        "sent %s", "hf_secret", secret="hf_secret", error=ValueError("Illegal header value b'Bearer hf_secret'")
    )
    assert "hf_secret" not in line
    assert "Illegal header value" in line


@pytest.mark.parametrize("token", ["hf_abc\ndef", "hf abc", "h\u00fcf"])
def test_a_wrong_token_is_told_without_quoting_it(token):
    with pytest.raises(SettingsError, match="HF_TOKEN") as raised:
        Settings.from_env({"HF_TOKEN": token})
    assert token not in raised.value.message
    assert "abc" not in raised.value.message
