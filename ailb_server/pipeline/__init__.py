"""The stages of one request, in order."""
