"""A ledger in a process of its own, to be killed: `python -m ... DSN DIRECTORY NAME`.

Prints each row's request id once the row is recorded; closes the ledger when its input ends.
"""

import asyncio
import sys
from pathlib import Path

from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.target import Price, Target
from ailb_server.pipeline.accounting import Accounting
from ailb_server.pipeline.record import ChatRecord
from ailb_server.spend.ledger import LedgerRules, UsageLedger
from ailb_server.storage.pool import Store
from ailb_server.storage.usage_journal import UsageJournal
from ailb_server.storage.usage_rows import PostgresUsageRows
from tests.unit.spend.test_ledger import Watching

RULES = LedgerRules(flush_every_s=0.02, first_pause_s=0.05, longest_pause_s=0.1)
TARGET = Target("openai", "gpt-x", price=Price(prompt=1_000_000))


async def main(dsn: str, directory: str, name: str) -> None:
    """Records until the input ends."""
    store = Store(dsn, size=2)
    await store.wait_ready()
    await store.open()
    journal = UsageJournal(Path(directory), name, 64 * 1024 * 1024)
    ledger = UsageLedger(journal, PostgresUsageRows(store), Watching(), RULES)
    ledger.start()
    accounting = Accounting(ledger, name)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    number = 0
    while not ended.is_set():
        for _ in range(20):
            number += 1
            usage = TokenUsage(prompt=number)
            record = ChatRecord("gpt", stream=False, target=TARGET, usage=usage)
            record.cost_micro_dollars = number
            record.request_id = f"{name}-{number}"
            accounting.chat_answered(record)
            sys.stdout.write(f"{record.request_id}\n")
            sys.stdout.flush()
        await asyncio.sleep(0.003)
    await ledger.close()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
