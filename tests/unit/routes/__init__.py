"""Unit tests of model routes."""
