"""`ailb chat`, piped, in a terminal, and interrupted."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from ailb.v1 import chat_pb2
from ailb_server.cli.chat import chat
from tests.support.loop_thread import LoopThread
from tests.unit.client.double import AilbDouble
from tests.unit.client.terminal import Terminal

COMMAND = "import typer; from ailb_server.cli.chat import chat; typer.run(chat)"


@dataclass
class Server:
    """A double that runs in another thread."""

    double: AilbDouble
    target: str
    loop: LoopThread

    def turns(self) -> list[tuple[int, str]]:
        """The last chat's conversation."""
        return [(m.role, m.content[0].text) for m in self.double.chats[-1].messages]


@pytest.fixture
def server() -> Iterator[Server]:
    loop = LoopThread()

    async def start() -> tuple[AilbDouble, str]:
        double = AilbDouble()
        return double, await double.start()

    double, target = loop.run(start())
    yield Server(double, target, loop)
    loop.run(double.stop())
    loop.stop()


@pytest.fixture
def runner() -> CliRunner:
    return CliRunner()


def run(runner: CliRunner, *arguments: str, **options: Any) -> Result:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(chat)
    return runner.invoke(app, arguments, **options)


def in_terminal(server: Server, *arguments: str) -> Terminal:
    return Terminal("-c", COMMAND, "--target", server.target, *arguments)


def test_a_question_is_answered(runner: CliRunner, server: Server) -> None:
    result = run(runner, "Why is it so?", "--target", server.target, "--model", "echo")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "Why is it so?\n", "")
    assert server.turns() == [(chat_pb2.ROLE_USER, "Why is it so?")]


def test_standard_input_is_a_question(runner: CliRunner, server: Server) -> None:
    result = run(runner, "--target", server.target, input="two\nlines\n")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "two\nlines\n", "")


def test_the_first_model_answers_if_none_is_named(runner: CliRunner, server: Server) -> None:
    run(runner, "Hi", "--target", server.target)
    assert server.double.chats[-1].model == "echo"


def test_without_any_model_it_says_so(runner: CliRunner, server: Server) -> None:
    server.double.models = ()
    result = run(runner, "Hi", "--target", server.target)
    assert (result.exit_code, result.stderr) == (1, "ailb: AILB serves no model\n")


@pytest.mark.parametrize("how", ["option", "environment"])
def test_the_key_is_sent(runner: CliRunner, server: Server, how: str) -> None:
    option = ["--api-key", "sk-1"] if how == "option" else []
    environment = {"AILB_API_KEY": "sk-1"} if how == "environment" else {}
    run(runner, "Hi", "--target", server.target, *option, env=environment)
    assert [call["authorization"] for call in server.double.metadata] == ["Bearer sk-1"] * 2


def test_the_key_is_not_in_the_help(runner: CliRunner) -> None:
    result = run(runner, "--help", env={"AILB_API_KEY": "sk-secret"})
    assert "AILB_API_KEY" in result.stdout
    assert "sk-secret" not in result.stdout


def test_an_error_is_one_line(runner: CliRunner, server: Server) -> None:
    result = run(runner, "Hi", "--target", server.target, "--model", "limited")
    told = "ailb: in words (RATE_LIMIT_EXCEEDED, request request-2)\n"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", told)


def test_an_answer_that_breaks_off_fails(runner: CliRunner, server: Server) -> None:
    result = run(runner, "half an", "--target", server.target, "--model", "cut")
    assert (result.exit_code, result.stdout) == (1, "half an\n")
    assert "UPSTREAM_UNAVAILABLE" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["Hi", "--target", "localhost:1"], "cannot be reached"),
        (["Hi", "--target", "http://localhost:8080"], "not a URL"),
        (["Hi", "--api-key", "a\nb"], "api_key"),
        ([" "], "the question is empty"),
        ([], "the question is empty"),
    ],
)
def test_what_cannot_work_is_one_line(runner: CliRunner, arguments: list[str], told: str) -> None:
    result = run(runner, *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith("ailb: ")
    assert told in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_server_that_goes_is_one_line(server: Server) -> None:
    with in_terminal(server, "go on", "--model", "endless") as terminal:
        terminal.wait_for("more more ")
        server.loop.run(server.double.stop())
        assert terminal.status() == 1
    answer, error, rest = terminal.shown.split("\r\n")
    assert answer.startswith("go onmore more ")
    assert error.startswith("ailb: ")
    assert not rest


def test_a_dialogue_remembers(server: Server) -> None:
    with in_terminal(server) as terminal:
        terminal.wait_for("echo answers.")
        place = terminal.wait_for("> ")
        terminal.type("my name is Ada\n")
        place = terminal.wait_for("\nmy name is Ada", after=place)
        place = terminal.wait_for("> ", after=place)
        terminal.type("\n")
        place = terminal.wait_for("> ", after=place)
        terminal.type("who am I?\n")
        place = terminal.wait_for("\nwho am I?", after=place)
        place = terminal.wait_for("> ", after=place)
        terminal.type("\x04")
        assert terminal.status() == 0
    assert server.turns() == [
        (chat_pb2.ROLE_USER, "my name is Ada"),
        (chat_pb2.ROLE_ASSISTANT, "my name is Ada"),
        (chat_pb2.ROLE_USER, "who am I?"),
    ]


def test_a_failed_turn_is_forgotten(server: Server) -> None:
    with in_terminal(server, "--model", "limited") as terminal:
        place = terminal.wait_for("> ")
        for question in ("first", "second"):
            terminal.type(f"{question}\n")
            place = terminal.wait_for("RATE_LIMIT_EXCEEDED", after=place)
            place = terminal.wait_for("> ", after=place)
            assert server.turns() == [(chat_pb2.ROLE_USER, question)]


def test_ctrl_c_stops_the_answer_and_then_the_dialogue(server: Server) -> None:
    with in_terminal(server, "--model", "endless") as terminal:
        place = terminal.wait_for("> ")
        terminal.type("go on\n")
        place = terminal.wait_for("more more ", after=place)
        terminal.interrupt()
        server.loop.run(server.double.cancelled.wait())
        place = terminal.wait_for("(stopped)", after=place)
        terminal.wait_for("> ", after=place)
        terminal.wait_until_it_reads()
        terminal.interrupt()
        assert terminal.status() == 130
        assert "Traceback" not in terminal.shown


def test_ctrl_c_ends_a_single_answer(server: Server) -> None:
    with in_terminal(server, "go on", "--model", "endless") as terminal:
        terminal.wait_for("more more ")
        terminal.interrupt()
        server.loop.run(server.double.cancelled.wait())
        assert terminal.status() == 130
        assert "Traceback" not in terminal.shown


def test_a_model_cannot_steer_the_terminal(runner: CliRunner, server: Server) -> None:
    with in_terminal(
        server, "\x1b]0;title\x07 \x9b2J naïve 🙂\ttab", "--model", "echo"
    ) as terminal:
        assert terminal.status() == 0
    assert terminal.shown == "]0;title 2J naïve 🙂\ttab\r\n"
    result = run(runner, "\x1b]0;title\x07", "--target", server.target)
    assert result.stdout == "\x1b]0;title\x07\n"


def test_a_reader_that_leaves_is_no_crash(server: Server) -> None:
    command = (sys.executable, "-c", COMMAND, "go on", "--target", server.target)
    with subprocess.Popen(
        (*command, "--model", "endless"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(5) == "go on"
        process.stdout.close()
        complaint = process.stderr.read()
        assert process.wait(20) == 1
    assert "Traceback" not in complaint


def test_the_command_is_light_until_it_is_called() -> None:
    code = "import sys, ailb_server.cli.chat; print({'grpc', 'asyncio'} & {*sys.modules})"
    done = subprocess.run(
        (sys.executable, "-c", code), capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "set()\n"
