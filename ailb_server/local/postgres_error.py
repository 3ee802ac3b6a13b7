"""The one error of the embedded Postgres."""


class PostgresError(RuntimeError):
    """The embedded Postgres cannot be used; the message tells the user what to do about it."""
