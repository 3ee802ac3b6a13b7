"""Files as text in pieces: in a process of its own, because files are not to be trusted."""
