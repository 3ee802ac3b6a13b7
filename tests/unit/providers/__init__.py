"""Unit tests of ailb_server.providers."""
