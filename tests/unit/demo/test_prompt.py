"""What a demo answers from: the last words, and what a question seems to be about."""

import pytest

from ailb_server.demo.prompt import read_messages

ALICE = {"role": "user", "content": "My name is Alice"}
HELLO = {"role": "assistant", "content": '[demo] You said: "My name is Alice"'}


def asked(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


@pytest.mark.parametrize(
    ("before", "question", "earlier"),
    [
        ([ALICE, HELLO], "What is my name?", "My name is Alice"),
        ([ALICE, HELLO], "My name is what", ""),
        ([], "What is my name?", ""),
        ([asked("I like tea")], "What is my name?", ""),
        ([ALICE, asked("No, my name is Bob")], "What is my name?", "No, my name is Bob"),
        ([asked("What is my name?")], "What is my name?", ""),
        (
            [{"role": "system", "content": "[1] Manual\nThe red lamp means low pressure."}],
            "What does the red lamp mean?",
            "The red lamp means low pressure.",
        ),
    ],
)
def test_a_question_is_answered_from_the_conversation(
    before: list[dict[str, str]], question: str, earlier: str
) -> None:
    prompt = read_messages([*before, asked(question)])
    assert prompt.earlier == earlier
    assert (f'I was told: "{earlier}"' in prompt.reply()) == bool(earlier)
