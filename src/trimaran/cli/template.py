"""Templates as docker's --format takes them: the useful part of Go's text/template (https://pkg.go.dev/text/template).

``{{.A.B}}``, pipes, ``if``/``else if``/``else``, ``range``, ``with``, ``$`` and variables, literals, and the
functions json, upper, lower, title, join, split, len, index, println, printf, truncate, pad, eq, ne, lt,
le, gt, ge, and, or, not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from trimaran.cli.options import UsageError

_ACTION = re.compile(r"\{\{(-\s)?\s*(.*?)\s*(\s-)?\}\}", re.DOTALL)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|`[^`]*`|\(|\)|\||:=|=|,|[^\s()|,]+')


def _field(value: Any, name: str) -> Any:
    """A field by its Go name: as it is, else without regard to case."""
    if not isinstance(value, Mapping):
        return None
    if name in value:
        return value[name]
    return next((value[key] for key in value if str(key).lower() == name.lower()), None)


def _json(value: Any) -> str:
    from json import dumps

    return dumps(value, default=str)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _printf(format: str, *values: Any) -> str:
    return re.sub(r"%(-?\d*(?:\.\d+)?)v", r"%\1s", format).replace("%q", '"%s"') % values


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": _json,
    "upper": lambda v: str(v).upper(),
    "lower": lambda v: str(v).lower(),
    "title": lambda v: str(v).title(),
    "join": lambda v, by: by.join(map(_text, v or ())),
    "split": lambda v, by: str(v).split(by),
    "len": lambda v: len(v or ()),
    "index": _index,
    "print": lambda *v: "".join(map(_text, v)),
    "println": lambda *v: " ".join(map(_text, v)) + "\n",
    "printf": _printf,
    "truncate": lambda v, n: str(v)[:n],
    "pad": lambda v, before, after: " " * before + str(v) + " " * after,
    "eq": lambda a, *b: any(a == other for other in b),
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
    "not": lambda v: not bool(v),
    "and": lambda *v: next((x for x in v if not bool(x)), v[-1]),
    "or": lambda *v: next((x for x in v if bool(x)), v[-1]),
}


def _text(value: Any) -> str:
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{_text(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, (list, tuple)):
        return "[" + " ".join(map(_text, value)) + "]"
    return str(value)


class _Scope:
    """What ``.`` and the variables mean at one place."""

    def __init__(self, dot: Any, variables: dict[str, Any]) -> None:
        self.dot = dot
        self.variables = variables

    def inner(self, dot: Any, **more: Any) -> _Scope:
        return _Scope(dot, {**self.variables, **more})


class Template:
    """A parsed template. Raises :class:`UsageError` where it cannot be understood."""

    def __init__(self, source: str) -> None:
        self._pieces = _split(source)
        self._at = 0
        self._nodes = self._block(("",))

    def render(self, value: Any) -> str:
        """The text for one value."""
        out: list[str] = []
        scope = _Scope(value, {"$": value})
        for node in self._nodes:
            node(scope, out)
        return "".join(out)

    def _block(self, ends: Sequence[str]) -> list[Callable[[_Scope, list[str]], None]]:
        nodes: list[Callable[[_Scope, list[str]], None]] = []
        while self._at < len(self._pieces):
            kind, body = self._pieces[self._at]
            word = body.split(None, 1)[0] if kind == "action" and body.split() else ""
            if kind == "action" and word in ("end", "else"):
                if word not in ends:
                    raise UsageError(f"{{{{{body}}}}} stands alone in the template")
                return nodes
            self._at += 1
            if kind == "text":
                nodes.append(_literal(body))
            elif word in ("if", "range", "with"):
                nodes.append(self._control(word, body.split(None, 1)[1] if " " in body else ""))
            elif not body.startswith("/*"):
                nodes.append(_action(body))
        if "end" in ends:
            raise UsageError("the template has no {{end}} for an {{if}}, {{range}} or {{with}}")
        return nodes

    def _control(self, word: str, expression: str) -> Callable[[_Scope, list[str]], None]:
        body = self._block(("end", "else"))
        action = self._pieces[self._at][1]
        self._at += 1
        otherwise: list[Callable[[_Scope, list[str]], None]] = []
        if action.startswith("else"):
            condition = action[4:].strip()
            if condition:
                inner_word, _, inner = condition.partition(" ")
                otherwise = [self._control(inner_word, inner)]
            else:
                otherwise = self._block(("end",))
                self._at += 1
        return (
            _range(expression, body, otherwise) if word == "range" else _if(word, expression, body, otherwise)
        )


def _split(source: str) -> list[tuple[str, str]]:
    pieces: list[tuple[str, str]] = []
    at = 0
    trim = False
    for match in _ACTION.finditer(source):
        text = source[at : match.start()]
        text = text.lstrip() if trim else text
        pieces.append(("text", text.rstrip() if match[1] else text))
        pieces.append(("action", match[2]))
        at, trim = match.end(), bool(match[3])
    tail = source[at:]
    if "{{" in tail:
        raise UsageError("the template has {{ without }}")
    pieces.append(("text", tail.lstrip() if trim else tail))
    return pieces


def _literal(text: str) -> Callable[[_Scope, list[str]], None]:
    return lambda scope, out: out.append(text)


def _action(body: str) -> Callable[[_Scope, list[str]], None]:
    assignment = re.match(r"(\$\w+)\s*:?=\s*(.*)", body, re.DOTALL)
    if assignment:
        name, expression = assignment[1], _parse(assignment[2])

        def assign(scope: _Scope, out: list[str]) -> None:
            scope.variables[name] = expression(scope)

        return assign
    expression = _parse(body)
    return lambda scope, out: out.append(_text(expression(scope)))


def _if(
    word: str,
    source: str,
    body: Sequence[Callable[[_Scope, list[str]], None]],
    otherwise: Sequence[Callable[[_Scope, list[str]], None]],
) -> Callable[[_Scope, list[str]], None]:
    expression = _parse(source)

    def run(scope: _Scope, out: list[str]) -> None:
        value = expression(scope)
        inner = scope.inner(value) if word == "with" and bool(value) else scope
        for node in body if bool(value) else otherwise:
            node(inner, out)

    return run


def _range(
    source: str,
    body: Sequence[Callable[[_Scope, list[str]], None]],
    otherwise: Sequence[Callable[[_Scope, list[str]], None]],
) -> Callable[[_Scope, list[str]], None]:
    names: list[str] = []
    match = re.match(r"(\$\w+)(?:\s*,\s*(\$\w+))?\s*:=\s*(.*)", source, re.DOTALL)
    if match:
        names, source = [name for name in match.group(1, 2) if name], match[3]
    expression = _parse(source)

    def run(scope: _Scope, out: list[str]) -> None:
        value = expression(scope) or ()
        pairs = sorted(value.items()) if isinstance(value, Mapping) else list(enumerate(value))
        for key, item in pairs:
            inner = scope.inner(item)
            inner.variables.update(zip(names, (key, item)[-len(names) :], strict=False))
            for node in body:
                node(inner, out)
        if not pairs:
            for node in otherwise:
                node(scope, out)

    return run


def _parse(source: str) -> Callable[[_Scope], Any]:
    tokens = _TOKEN.findall(source)
    if not tokens:
        raise UsageError("the template has an empty {{}}")
    value = _pipeline(tokens)
    if tokens:
        raise UsageError(f"the template has '{tokens[0]}' where nothing may stand")
    return value


def _pipeline(tokens: list[str]) -> Callable[[_Scope], Any]:
    stages = [_call(tokens)]
    while tokens and tokens[0] == "|":
        tokens.pop(0)
        stages.append(_call(tokens))

    def run(scope: _Scope) -> Any:
        value = stages[0](scope)
        for stage in stages[1:]:
            value = stage(scope, value)
        return value

    return run


def _call(tokens: list[str]) -> Callable[..., Any]:
    if not tokens:
        raise UsageError("the template ends where a value is expected")
    if tokens[0] not in _FUNCTIONS:
        operand = _operand(tokens)
        return lambda scope, *piped: operand(scope)
    function = _FUNCTIONS[tokens.pop(0)]
    operands = []
    while tokens and tokens[0] not in ("|", ")"):
        operands.append(_operand(tokens))

    def run(scope: _Scope, *piped: Any) -> Any:
        try:
            return function(*(operand(scope) for operand in operands), *piped)
        except (TypeError, ValueError, AttributeError) as error:
            raise UsageError("the template cannot be applied", why=str(error)) from error

    return run


def _operand(tokens: list[str]) -> Callable[[_Scope], Any]:
    token = tokens.pop(0)
    if token == "(":
        inner = _pipeline(tokens)
        if not tokens or tokens.pop(0) != ")":
            raise UsageError("the template has ( without )")
        return inner
    if token[0] in '"`':
        text = token[1:-1] if token[0] == "`" else token[1:-1].encode().decode("unicode_escape")
        return lambda scope: text
    if token in ("true", "false", "nil"):
        constant = {"true": True, "false": False, "nil": None}[token]
        return lambda scope: constant
    if re.fullmatch(r"-?\d+", token):
        return lambda scope: int(token)
    if token[0] in ".$":
        return _path(token)
    raise UsageError(f"the template uses the unknown function '{token}'")


def _path(token: str) -> Callable[[_Scope], Any]:
    first, *names = token.split(".")

    def run(scope: _Scope) -> Any:
        value = scope.dot if not first else scope.variables.get(first)
        for name in names:
            if name:
                value = _field(value, name)
        return value

    return run


def headings(source: str, titles: Mapping[str, str]) -> list[str]:
    """The titles of the columns of a ``table`` template: of each tab-separated part, its first field's."""
    found = []
    for part in source.split("\t"):
        match = re.search(r"\.(\w+)", part)
        name = match[1] if match else ""
        found.append(titles.get(name, name.upper()))
    return found
