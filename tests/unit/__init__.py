"""Tests without I/O, laid out as the packages are."""
