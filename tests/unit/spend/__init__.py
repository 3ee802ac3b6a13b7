"""Unit tests of ailb_server.spend."""
