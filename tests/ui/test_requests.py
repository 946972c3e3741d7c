import gradio as gr
import pytest

from components.core.errors import AudioError, Cancelled
from components.ui.requests import UNEXPECTED, Cancellations, Refused, api_errors, plain_words


def test_only_the_own_session_stops_and_every_request_of_it():
    cancellations = Cancellations()
    mine, also_mine, yours = (cancellations.begin(session) for session in ("me", "me", "you"))
    cancellations.stop("me")
    assert [event.is_set() for event in (mine, also_mine, yours)] == [True, True, False]
    cancellations.end("me", mine)
    later = cancellations.begin("me")
    assert not later.is_set()


def test_one_request_stops_alone_and_is_forgotten():
    cancellations = Cancellations()
    mine, also_mine = (cancellations.begin("me") for _ in range(2))
    cancellations.stop("me", mine)
    assert [event.is_set() for event in (mine, also_mine)] == [True, False]
    assert cancellations._tickets == {"me": {also_mine}}


def test_a_request_that_is_over_is_forgotten():
    cancellations = Cancellations()
    with cancellations.request("me") as event:
        assert cancellations._tickets
    assert not cancellations._tickets
    cancellations.stop("me")
    assert not event.is_set()


def test_a_request_takes_the_place_of_the_one_before():
    cancellations = Cancellations()
    before = cancellations.begin("me")
    now = cancellations.begin("me", instead_of=before)
    assert before.is_set()
    assert before.replaced
    assert not now.is_set()
    assert cancellations._tickets == {"me": {now}}


def test_our_errors_keep_their_sentence():
    with pytest.raises(Refused) as caught, plain_words():
        raise AudioError("Too long.")
    assert caught.value.message == "Too long."
    assert not caught.value.cancelled


def test_others_are_told_in_general_words_and_logged(caplog):
    with pytest.raises(Refused) as caught, plain_words():
        raise KeyError("/srv/secret")
    assert caught.value.message == UNEXPECTED
    assert "/srv/secret" in caplog.text


def test_cancelled_is_no_problem():
    with pytest.raises(Refused) as caught, plain_words():
        raise Cancelled
    assert caught.value.cancelled


def test_a_script_gets_gradios_error_without_a_traceback():
    with pytest.raises(gr.Error) as caught, api_errors():
        raise AudioError("Too <b>long</b>.")
    assert caught.value.message == "Too <b>long</b>."
    assert caught.value.print_exception is False
