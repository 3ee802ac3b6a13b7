"""Certificates in files, and servers that follow them."""
