"""The demo provider: its wire format, its faults, and what an observer sees."""
