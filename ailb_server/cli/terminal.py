"""Text for a terminal."""

# What others said must not steer the terminal: no control characters but tab and newline.
_HARMLESS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}


def harmless(text: str) -> str:
    """Without control characters."""
    return text.translate(_HARMLESS)
