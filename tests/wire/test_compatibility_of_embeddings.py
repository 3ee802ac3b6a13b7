"""Nothing that a caller asks of an embedding is lost without a word."""

import pytest

from tests.wire.compatibility.embeddings import (
    EMBEDDINGS,
    EmbeddingProbe,
    judge_ollama,
    judge_openai,
    parameters,
)
from tests.wire.compatibility.outcome import Outcome


@pytest.mark.parametrize("probe", EMBEDDINGS, ids=lambda probe: f"{probe.parameter}-{probe.value}")
def test_it_becomes_of_it_what_the_table_says(probe: EmbeddingProbe) -> None:
    assert judge_ollama(probe) is probe.ollama
    wanted = Outcome.OWN if probe.ollama is Outcome.OWN else Outcome.PASSED
    assert judge_openai(probe) is wanted


def test_every_parameter_of_the_official_package_is_probed() -> None:
    assert parameters() <= {probe.parameter for probe in EMBEDDINGS}
