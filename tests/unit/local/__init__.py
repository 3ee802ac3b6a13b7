"""Unit tests of ailb_server.local."""
