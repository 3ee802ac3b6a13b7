"""Nothing is dead, nothing heavy comes early, and the environment is read in one place.

Which layer may import which is import-linter's to check: see pyproject.toml.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.shape.sources import REPOSITORY, Source, sources

SERVER = {source.module: source for source in sources("ailb_server")}
STARTS = (
    "ailb_server.__main__",
    "ailb_server.demo.__main__",
    "ailb_server.embedding.worker",
)
HEAVY = {
    *("grpc", "google.protobuf", "ailb", "betterproto2", "aiohttp", "openai", "anthropic"),
    *("asyncpg", "pgvector", "uvloop", "pydantic", "pydantic_settings", "prometheus_client"),
    *("yaml", "numpy", "onnxruntime", "tokenizers", "huggingface_hub", "tqdm"),
}


def test_every_module_is_used() -> None:
    used: set[str] = set()
    waiting = list(STARTS)
    while waiting:
        module = waiting.pop()
        if module in SERVER and module not in used:
            used.add(module)
            waiting += imported(SERVER[module])
    assert SERVER.keys() - used == set()


def imported(source: Source) -> Iterator[str]:
    """Modules that a file names, the packages they are in, and scripts that it runs."""
    directory = source.name.rpartition("/")[0].replace("/", ".")
    for node in source.nodes():
        match node:
            case ast.Import(names):
                yield from (part for alias in names for part in with_packages(alias.name))
            case ast.ImportFrom(module=str(module), names=names):
                yield from with_packages(module)
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Constant(value=str(text)) if text.endswith(".py"):
                yield f"{directory}.{text.removesuffix('.py')}"


def with_packages(module: str) -> Iterator[str]:
    parts = module.split(".")
    yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def test_the_environment_is_read_in_settings_only() -> None:
    elsewhere = [s for name, s in SERVER.items() if not name.startswith("ailb_server.settings")]
    assert [place for source in elsewhere for place in environment(source)] == []


def environment(source: Source) -> Iterator[str]:
    """Every mention of it, but for giving a library what it will read: a bare `setdefault`."""
    nodes = list(source.nodes())
    given: set[int] = set()
    for node in nodes:
        match node:
            case ast.Expr(ast.Call(func=ast.Attribute(value=mention, attr="setdefault"))):
                given.add(id(mention))
    for node in nodes:
        match node:
            case ast.Attribute(attr="environ" | "environb" | "getenv") if id(node) not in given:
                yield source.at(node)
            case ast.ImportFrom(module="os", names=names):
                if {alias.name for alias in names} & {"environ", "environb", "getenv"}:
                    yield source.at(node)


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("os.environ.setdefault('A', 'b')", False),
        ("home = os.environ.setdefault('HOME', '/')", True),
        ("home = os.environ['HOME']", True),
        ("home = os.getenv('HOME')", True),
        ("from os import environ", True),
        ("run(env={**os.environ})", True),
    ],
)
def test_reading_is_seen(text: str, *, reads: bool) -> None:
    assert bool(list(environment(Source("x.py", text, ast.parse(text))))) is reads


def test_the_command_line_comes_up_before_anything_heavy() -> None:
    program = "import ailb_server.cli.main, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert HEAVY & set(done.stdout.split()) == set()
