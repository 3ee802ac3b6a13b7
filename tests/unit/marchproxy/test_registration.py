"""What goes wrong before there is a connection is tried again, and told once."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from ailb_server.marchproxy.backoff import Backoff
from ailb_server.marchproxy.link import Link, NlbError, Trouble
from ailb_server.marchproxy.orders import Orders
from ailb_server.marchproxy.registration import Registration, Target
from ailb_server.telemetry.nlb_metrics import NlbMetrics
from marchproxy import nlb_pb2 as pb

TRIES = 5


class Unasked:
    """Facts that nobody gets to ask for."""

    async def registration(self) -> pb.RegisterModuleRequest:
        raise AssertionError

    async def heartbeat(self, registration_id: str) -> pb.HeartbeatRequest:
        raise AssertionError


async def lines(fault: Exception, caplog: pytest.LogCaptureFixture) -> list[str]:
    """Of so many TRIES that fail by `fault`, and the end after them."""
    dialled, enough = 0, asyncio.Event()

    def dial() -> Link:
        nonlocal dialled
        dialled += 1
        if dialled == TRIES:
            enough.set()
        raise fault

    async def reload() -> None:
        raise AssertionError

    registration = Registration(
        Target("nlb:1", "ailb-1", 10),
        dial,
        Unasked(),
        Orders(reload),
        NlbMetrics(CollectorRegistry()),
        Backoff(first_s=0, most_s=0),
    )
    registration.start()
    async with asyncio.timeout(10):
        await enough.wait()
    await registration.close()
    await registration.close()
    return [record.getMessage() for record in caplog.records]


async def test_files_that_cannot_be_used_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    fault = NlbError(Trouble.FILES, "NLB_TLS_CA_FILE: /ca.pem: no such file")
    assert await lines(fault, caplog) == [
        "not registered at nlb:1 (files), trying on: NLB_TLS_CA_FILE: /ca.pem: no such file"
    ]


async def test_a_fault_of_ours_does_not_end_it(caplog: pytest.LogCaptureFixture) -> None:
    told = await lines(RuntimeError("broken"), caplog)
    assert told == ["a heartbeat to the load balancer failed"] * TRIES
