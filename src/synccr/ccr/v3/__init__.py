"""Claude Code Router 3.x: two processes and a database, in a directory that synccr makes for
each start and removes at its end.

pins, pinned         what its versions are known to be
"""
