"""The runtime's command line: what is read from it, and what is refused."""

import pytest

from trimaran.errors import InvalidInput
from trimaran.runtime.commands.kill import signal_number
from trimaran.runtime.options import Option, parse
from trimaran.runtime.store import check_id

OPTIONS = (Option("bundle b", "value", ""), Option("detach d", "flag", ""), Option("env e", "value", ""))


def test_options_can_end_at_the_first_word_that_is_none():
    words = ["-b", "/x", "--detach", "--env=A=1", "-e", "B", "id", "-b", "y"]
    options, rest = parse(words, OPTIONS, stop=True)
    assert options.value("bundle") == "/x"
    assert options.given("detach")
    assert options.values("env") == ["A=1", "B"]
    assert rest == ["id", "-b", "y"]


def test_options_may_stand_behind_arguments():
    options, rest = parse(["id", "-b", "y", "TERM", "-d"], OPTIONS)
    assert (options.value("bundle"), options.given("detach"), rest) == ("y", True, ["id", "TERM"])


def test_dashes_end_options():
    assert parse(["--", "-b"], OPTIONS)[1] == ["-b"]


def test_a_flag_can_be_switched_off():
    assert not parse(["--detach=false"], OPTIONS)[0].given("detach")


@pytest.mark.parametrize(
    ("words", "message"), [(["--bundel", "x"], "did you mean --bundle"), (["--bundle"], "needs a value")]
)
def test_mistakes_are_explained(words, message):
    with pytest.raises(InvalidInput, match=message):
        parse(words, OPTIONS)


@pytest.mark.parametrize(
    ("text", "number"),
    [("TERM", 15), ("SIGKILL", 9), ("9", 9), ("usr1", 10), ("RTMIN+3", 37), ("SIGRTMAX-1", 63), ("0", 0)],
)
def test_signals(text, number):
    assert signal_number(text) == number


@pytest.mark.parametrize("text", ["", "NOPE", "99999", "-1", "RTMIN+99", "65"])
def test_what_is_no_signal(text):
    with pytest.raises(InvalidInput, match="no signal"):
        signal_number(text)


@pytest.mark.parametrize("id", ["", ".", "..", "a/b", "a\0b", "a b", "é", "x" * 256, "x" * 1_000_000])
def test_what_is_no_id(id):
    with pytest.raises(InvalidInput, match="invalid container ID"):
        check_id(id)
