"""Golden folders: what is asked, sent, answered and told, byte by byte."""
