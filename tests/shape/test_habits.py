"""What a reader should never meet in the server."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.shape.sources import Source, sources

EMPTY_NAMES = {"util", "utils", "helper", "helpers", "common", "manager", "misc", "handler"}
EVERYTHING = {"Exception", "BaseException"}
SERVER = sources("ailb_server", "ailb_client")


def test_no_type_error_is_silenced() -> None:
    assert [s.name for s in SERVER if "type: ignore" in s.text] == []


def test_every_module_is_named_for_what_it_holds() -> None:
    parts = {part for source in sources() for part in source.module.split(".")}
    assert parts & EMPTY_NAMES == set()
    assert [part for part in parts if re.search(r"_(v\d+|new|old|final)$", part)] == []


def test_nothing_is_left_for_later() -> None:
    marks = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError")
    assert [s.name for s in SERVER if marks.search(s.text)] == []


def test_no_error_is_swallowed() -> None:
    assert [place for source in sources() for place in swallowing(source)] == []


def test_nothing_in_a_module_changes_at_run_time() -> None:
    assert [place for source in SERVER for place in module_state(source)] == []


def swallowing(source: Source) -> Iterator[str]:
    """Handlers of everything that do nothing, and `suppress` of everything."""
    for node in source.nodes():
        match node:
            case ast.ExceptHandler() if catches_everything(node.type) and idle(node.body):
                yield source.at(node)
            case ast.Call(func=ast.Name("suppress") | ast.Attribute(attr="suppress")):
                if any(catches_everything(argument) for argument in node.args):
                    yield source.at(node)


def catches_everything(kind: ast.expr | None) -> bool:
    match kind:
        case None:
            return True
        case ast.Tuple(elts):
            return any(catches_everything(element) for element in elts)
        case ast.Name(name) | ast.Attribute(attr=name):
            return name in EVERYTHING
        case _:
            return False


def idle(body: list[ast.stmt]) -> bool:
    """Nothing happens: no call, no raise, no value that tells of the error."""
    return all(
        isinstance(statement, ast.Pass | ast.Continue)
        or (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant))
        for statement in body
    )


def module_state(source: Source) -> Iterator[str]:
    """`global`, and containers in a module that a function of it changes."""
    containers = {name for statement in source.tree.body for name in container(statement)}
    for node in source.nodes():
        match node:
            case ast.Global():
                yield source.at(node)
            case ast.Call(func=ast.Attribute(value=ast.Name(name), attr=attr)):
                if name in containers and attr in CHANGES:
                    yield source.at(node)
            case ast.Subscript(value=ast.Name(name), ctx=ast.Store() | ast.Del()):
                if name in containers:
                    yield source.at(node)


CHANGES = {
    *("append", "extend", "insert", "add", "update", "setdefault", "pop", "popitem", "clear"),
    *("remove", "discard", "appendleft", "popleft", "sort", "reverse"),
}


def container(statement: ast.stmt) -> Iterator[str]:
    match statement:
        case ast.Assign(targets=[ast.Name(name)]) | ast.AnnAssign(target=ast.Name(name)):
            yield name


@pytest.mark.parametrize(
    "text",
    [
        "try:\n    f()\nexcept Exception:\n    pass",
        "try:\n    f()\nexcept:\n    ...",
        "try:\n    f()\nexcept (ValueError, BaseException):\n    'never mind'",
        "with contextlib.suppress(Exception):\n    f()",
    ],
)
def test_swallowing_is_seen(text: str) -> None:
    assert list(swallowing(Source("x.py", text, ast.parse(text))))


@pytest.mark.parametrize(
    "text",
    [
        "seen = {}\ndef f():\n    seen['x'] = 1",
        "seen = []\ndef f():\n    seen.append(1)",
        "n = 0\ndef f():\n    global n\n    n += 1",
    ],
)
def test_state_is_seen(text: str) -> None:
    assert list(module_state(Source("x.py", text, ast.parse(text))))
