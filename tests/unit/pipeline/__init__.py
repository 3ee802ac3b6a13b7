"""Unit tests of ailb_server.pipeline."""
