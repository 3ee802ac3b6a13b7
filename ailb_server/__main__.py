"""`python -m ailb_server` and the command `ailb`."""

from ailb_server.cli.main import app


def main() -> None:
    """Runs the command line."""
    app()


if __name__ == "__main__":
    main()
