"""An outage told once at its beginning and once at its end, not with every request it meets."""

import logging


class OutageLog:
    """`what` says, in one line, what does not work and what is done instead."""

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log = log
        self._what = what
        self._lasting = False

    def began(self) -> None:
        """May be told as often as it is met."""
        if not self._lasting:
            self._lasting = True
            self._log.warning("%s", self._what)

    def ended(self) -> None:
        """May be told whenever something works."""
        if self._lasting:
            self._lasting = False
            self._log.warning("over: %s", self._what)
