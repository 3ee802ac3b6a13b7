"""Tests of knowledge's rules."""
