"""Unit tests of ailb_server.domain."""
