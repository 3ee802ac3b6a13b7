"""Small files, small functions, few parameters."""

import ast

from tests.shape.sources import Source, sources

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40
MAX_PARAMETERS = 6


def functions(source: Source) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node for node in source.nodes() if isinstance(node, kinds)]


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Those a caller gives: without `self`."""
    spec = function.args
    every = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]
    given = [a for a in every if a.arg not in {"self", "cls"}]
    return len(given) + bool(spec.vararg) + bool(spec.kwarg)


def test_files_are_small() -> None:
    lengths = {source.name: len(source.text.splitlines()) for source in sources()}
    assert {name: n for name, n in lengths.items() if n > MAX_FILE_LINES} == {}


def test_functions_are_small() -> None:
    long = {
        f"{source.at(function)} {function.name}": (function.end_lineno or 0) - function.lineno + 1
        for source in sources()
        for function in functions(source)
    }
    assert {name: n for name, n in long.items() if n > MAX_FUNCTION_LINES} == {}


def test_functions_take_few_parameters() -> None:
    counts = {
        f"{source.at(function)} {function.name}": parameters(function)
        for source in sources()
        for function in functions(source)
    }
    assert {name: n for name, n in counts.items() if n > MAX_PARAMETERS} == {}
