"""Unit tests of ailb_server.api."""
