"""The frame of the command: every declared command exists and explains itself; errors come on one line."""

import os
import subprocess
import sys

import pytest

from trimaran.cli import help, main, output, registry
from trimaran.cli.context import Context


@pytest.mark.parametrize("name", registry.COMMANDS)
def test_every_command_is_declared_and_explains_itself(name, capsys):
    command = main.load(name)
    names = [n for option in command.options for n in option.names]
    assert len(names) == len(set(names))
    assert all(option.help for option in command.options)
    assert main.execute([*name.split(" "), "--help"]) == 0
    page = capsys.readouterr().out
    assert page.startswith(f"Usage: trimaran {name}")
    assert registry.COMMANDS[name][1] in page


def test_help_names_every_command():
    listed = {name for _, names in registry.SECTIONS for name in names}
    assert listed == {name for name in registry.COMMANDS if " " not in name}
    assert {name.split(" ")[0] for name in [*registry.COMMANDS, *registry.ALIASES] if " " in name} == set(
        registry.GROUPS
    )
    assert set(registry.ALIASES.values()) <= set(registry.COMMANDS)
    assert all(name in help.overview() for name in listed)


def test_a_typo_is_answered_with_a_hint(capsys):
    assert main.execute(["versoin"]) == 125
    assert "did you mean 'trimaran version'?" in capsys.readouterr().err


def test_an_unknown_option_is_one_line(capsys):
    assert main.execute(["version", "--bogus"]) == 125
    captured = capsys.readouterr()
    assert captured.err.startswith("trimaran: unknown option --bogus")
    assert captured.err.count("\n") == 1


def test_version_by_template(capsys):
    assert main.execute(["version", "--format", "{{.Kernel}}"]) == 0
    assert capsys.readouterr().out.strip() == os.uname().release


def test_completion_knows_commands_and_options(capsys):
    main.execute(["__complete", "vers"])
    assert capsys.readouterr().out == "version\n"
    main.execute(["__complete", "version", "--fo"])
    assert capsys.readouterr().out == "--format\n"


def test_starting_the_command_imports_little():
    code = (
        "import sys; from trimaran.cli import main; main.load('version'); "
        "print([m for m in 'argparse json re dataclasses typing subprocess'.split() if m in sys.modules])"
    )
    run = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path += {sys.path!r}; {code}"]
    assert subprocess.run(run, capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "0B"), (999, "999B"), (1000, "1kB"), (12345678, "12.3MB"), (5e12, "5TB")]
)
def test_sizes_for_people(count, expected):
    assert output.size(count) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.5, "Less than a second"),
        (1, "1 second"),
        (150, "2 minutes"),
        (90000, "25 hours"),
        (1e9, "31 years"),
    ],
)
def test_lengths_of_time_for_people(seconds, expected):
    assert output.ago(seconds) == expected


def test_a_table_lines_up(capsys):
    rows = [{"id": "a", "n": "long name"}, {"id": "bbbb", "n": None}]
    output.show_list(Context(), rows, {"ID": "id", "NAME": "n"})
    assert capsys.readouterr().out == "ID     NAME\na      long name\nbbbb\n"
    output.show_list(Context(), rows, {"ID": "id", "NAME": "n"}, format="table {{.id}}\t{{.n}}")
    assert capsys.readouterr().out == "ID     NAME\na      long name\nbbbb   <no value>\n"
