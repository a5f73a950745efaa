"""The command line's own parser, against what docker's accepts."""

import pytest

from trimaran.cli.options import Argument, Command, Help, Option, UsageError, parse

RUN = Command(
    lambda context, args: None,
    arguments=[Argument("IMAGE"), Argument("COMMAND", rest=True)],
    options=[
        Option("-i", "--interactive", help=""),
        Option("-t", "--tty", help=""),
        Option("-e", "--env", metavar="NAME=VALUE", many=True, help=""),
        Option("--pull", metavar="WHEN", implied="always", choices=("always", "never"), help=""),
        Option("--cpus", metavar="N", convert=float, help=""),
    ],
)
RM = Command(
    lambda context, args: None,
    arguments=[Argument("CONTAINER", many=True)],
    options=[Option("-f", "--force", help="")],
)
COPY = Command(lambda context, args: None, arguments=[Argument("FROM", many=True), Argument("TO")])


def test_flags_combine_and_options_stop_at_the_image():
    args = parse(
        RUN, ["-it", "-eA=1", "--env", "B=2", "-e=C=3", "--cpus=1.5", "debian", "ls", "-l", "--pull"]
    )
    assert (args.interactive, args.tty, args.env, args.cpus) == (True, True, ["A=1", "B=2", "C=3"], 1.5)
    assert (args.image, args.command, args.pull) == ("debian", ["ls", "-l", "--pull"], None)


def test_options_may_follow_arguments_where_no_program_is_run():
    args = parse(RM, ["one", "-f", "two"])
    assert args.force
    assert args.container == ["one", "two"]
    assert parse(RM, ["--", "-f"]).container == ["-f"]


def test_an_option_with_an_implied_value():
    assert parse(RUN, ["--pull", "x"]).pull == "always"
    assert parse(RUN, ["--pull=never", "x"]).pull == "never"


def test_a_flag_may_be_switched_off():
    assert parse(RUN, ["--tty=false", "x"]).tty is False


def test_the_last_argument_takes_the_last_word():
    args = parse(COPY, ["a", "b", "c"])
    assert (getattr(args, "from"), args.to) == (["a", "b"], "c")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "IMAGE is missing"),
        (["--envv", "x", "y"], "did you mean --env?"),
        (["--env"], "needs a value"),
        (["--cpus", "many", "x"], "--cpus many: could not convert"),
        (["--pull=often", "x"], "not one of always, never"),
        (["--tty=maybe", "x"], "neither true nor false"),
        (["-z", "x"], "unknown option -z"),
    ],
)
def test_what_is_wrong_is_named(words, message):
    with pytest.raises(UsageError) as caught:
        parse(RUN, words)
    assert message in str(caught.value)


def test_help_is_asked_for():
    with pytest.raises(Help):
        parse(RUN, ["-it", "--help"])
