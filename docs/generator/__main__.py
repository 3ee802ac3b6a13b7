"""Writes every document that is not as the code says."""

import sys

from docs.generator.documents import ROOT, documents


def main() -> None:
    """Names each file that it changes."""
    for path, text in documents().items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
