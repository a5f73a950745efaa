"""The templates of --format, against what docker's print for the same input."""

import pytest

from trimaran.cli.options import UsageError
from trimaran.cli.template import Template, headings

CONTAINER = {
    "ID": "abc",
    "Names": "web",
    "State": {"Running": True, "ExitCode": 0},
    "Mounts": [{"Source": "/a"}, {"Source": "/b"}],
    "Labels": {"tier": "front", "a.b": "dotted"},
    "Args": ["-l", "x"],
}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("{{.ID}}: {{.Names}}", "abc: web"),
        ("{{ .state.running }}", "true"),
        ("{{json .Args}}", '["-l", "x"]'),
        ('{{join .Args ","}}', "-l,x"),
        ('{{index .Labels "a.b"}}', "dotted"),
        ("{{.Labels}}", "map[a.b:dotted tier:front]"),
        ("{{range .Mounts}}{{.Source}};{{end}}", "/a;/b;"),
        ("{{range $i, $m := .Mounts}}{{$i}}{{$m.Source}}{{end}}", "0/a1/b"),
        ("{{range .Nothing}}x{{else}}none{{end}}", "none"),
        ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
        ("{{if eq .State.ExitCode 1}}one{{else if eq .State.ExitCode 0}}zero{{end}}", "zero"),
        ("{{with .State}}{{.ExitCode}}{{end}}", "0"),
        ('{{.Names | upper | printf "%s!"}}', "WEB!"),
        ("{{len .Mounts}}", "2"),
        ("{{$x := .ID}}{{$x}}", "abc"),
        ("a {{- .ID -}} b", "aabcb"),
        ("{{.Missing}}", "<no value>"),
        ("{{if and .State.Running (not .State.ExitCode)}}ok{{end}}", "ok"),
        ("{{range $k, $v := .Labels}}{{$k}}={{$v}} {{end}}", "a.b=dotted tier=front "),
    ],
)
def test_renders(source, expected):
    assert Template(source).render(CONTAINER) == expected


@pytest.mark.parametrize("source", ["{{", "{{if .ID}}x", "{{end}}", "{{.ID )}}", "{{nonsense .ID}}", "{{}}"])
def test_refuses_what_it_does_not_understand(source):
    with pytest.raises(UsageError):
        Template(source)


def test_headings_of_a_table():
    assert headings("{{.ID}}\t{{.Names}} x\t{{json .Size}}", {"ID": "CONTAINER ID"}) == [
        "CONTAINER ID",
        "NAMES",
        "SIZE",
    ]
