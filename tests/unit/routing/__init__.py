"""Unit tests of ailb_server.routing."""
