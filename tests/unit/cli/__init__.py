"""Unit tests of ailb_server.cli."""
