"""Certificates and keys in files: read, checked, read anew when they change."""
