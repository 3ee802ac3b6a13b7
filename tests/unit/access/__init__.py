"""Unit tests of ailb_server.access."""
