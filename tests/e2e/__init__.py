"""The whole path, through real processes."""
