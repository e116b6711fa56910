"""One supervisor replaced by a fresh one, and no client notices (POSIX)."""
