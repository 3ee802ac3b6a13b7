"""Unit tests of ailb_server.memory."""
