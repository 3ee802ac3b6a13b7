"""Plain values, errors and ports; imports nothing of AILB."""
