"""One module per upstream wire format: pure translation in `*_wire.py`, I/O beside it."""
