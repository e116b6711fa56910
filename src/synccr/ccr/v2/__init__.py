"""Claude Code Router 1.0.73 and 2.x: one process that reads ``config.json`` in CCR's directory.

pins, pinned         what its versions are known to be
override_files       CCR's files for one project, session or preset
pid_file             CCR's pid file, and whose process it names
backend              one running CCR 2: its pid file, its log
launch               start one CCR, wait until it serves
preload,             what runs in CCR's process: its way to the egress
node_side
log, log_files       one line of CCR's log -> what went wrong; which file, how many
log_follower,        CCR's log, followed through rotation and worse
dir_watch, log_watch
"""
