"""What several test rings use: real servers, started once."""
