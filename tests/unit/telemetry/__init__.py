"""Unit tests of ailb_server.telemetry."""
