"""`ailb chat`: talks to a running AILB from a terminal. Imports gRPC only once it is called."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ailb_server.cli.server_options import ServerOptions, calls_server
from ailb_server.cli.terminal import harmless

if TYPE_CHECKING:
    import asyncio

    from ailb_client import ChatCompletionChunk, Client, Message


@calls_server
def chat(
    text: Annotated[
        str | None, typer.Argument(help="What to ask. Without it: standard input, or a dialogue.")
    ] = None,
    *,
    model: Annotated[
        str | None, typer.Option(help="Which model answers; else the first listed.")
    ] = None,
    server: ServerOptions,
) -> None:
    """Asks a running AILB and prints the answer as it comes; talks on if no question is given.

    The exit status is 1 if there is no answer, 130 after Ctrl-C.
    """
    # Its own log would be mixed into the dialogue; gRPC reads this as it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        import asyncio

        import ailb_client

        question = _question(text)
        with asyncio.Runner() as runner, _connected(runner, server) as client:
            chosen = model or runner.run(_first_model(client))
            if question is None:
                _talk(runner, client, chosen)
            else:
                runner.run(_answer(client, chosen, [ailb_client.user(question)], []))
    except KeyboardInterrupt:
        typer.echo(err=True)
        raise typer.Exit(130) from None
    except (ailb_client.AilbError, ValueError) as error:
        _complain(error)
        raise typer.Exit(1) from None


def _question(text: str | None) -> str | None:
    """The one question; None for a dialogue."""
    if text is None and sys.stdin.isatty():
        return None
    question = sys.stdin.read() if text is None else text
    if not question.strip():
        raise ValueError("the question is empty")
    return question


@contextlib.contextmanager
def _connected(runner: "asyncio.Runner", server: ServerOptions) -> "Iterator[Client]":
    import ailb_client

    credentials = None if server.tls is None else server.tls.files().credentials()
    connection = ailb_client.connect(server.target, api_key=server.api_key, credentials=credentials)
    stack = contextlib.AsyncExitStack()
    try:
        yield runner.run(stack.enter_async_context(connection))
    finally:
        runner.run(stack.aclose())


async def _first_model(client: "Client") -> str:
    models = await client.models()
    if not models:
        raise ValueError("AILB serves no model")
    return models[0].id


def _talk(runner: "asyncio.Runner", client: "Client", model: str) -> None:
    """Reads questions until the end of input. Between them the loop rests, so that Ctrl-C is the
    terminal's as usual; during an answer it stops that answer only."""
    import ailb_client

    with contextlib.suppress(ImportError):
        import readline  # noqa: F401 - gives input() line editing and a history
    typer.echo(f"{model} answers. Ctrl-C stops an answer, Ctrl-D ends.", err=True)
    turns: list[Message] = []
    while (question := _ask()) is not None:
        if not question.strip():
            continue
        said: list[str] = []
        turns.append(ailb_client.user(question))
        try:
            runner.run(_answer(client, model, turns, said))
        except KeyboardInterrupt:
            typer.echo("(stopped)", err=True)
        except (ailb_client.AilbError, ValueError) as error:
            _complain(error)
        if said:
            turns.append(ailb_client.assistant("".join(said)))
        else:
            turns.pop()


def _ask() -> str | None:
    try:
        return input("> ")
    except EOFError:
        typer.echo(err=True)
        return None


async def _answer(client: "Client", model: str, turns: "list[Message]", said: list[str]) -> None:
    """Prints the pieces and adds them to `said`, which tells what there was when it breaks off."""
    try:
        async with client.chat_stream(turns, model=model) as stream:
            async for chunk in stream:
                if words := _words(chunk):
                    said.append(words)
                    _print(words)
    finally:
        if said and not said[-1].endswith("\n"):
            _print("\n")


def _words(chunk: "ChatCompletionChunk") -> str:
    import ailb_client

    refusals = (choice.delta.refusal for choice in chunk.choices if choice.delta is not None)
    return ailb_client.text(chunk) + "".join(words for words in refusals if words)


def _print(words: str) -> None:
    sys.stdout.write(harmless(words) if sys.stdout.isatty() else words)
    sys.stdout.flush()


def _complain(error: Exception) -> None:
    typer.echo(f"ailb: {' '.join(str(error).split())}", err=True)
