"""The project's own rules, checked by machine."""
