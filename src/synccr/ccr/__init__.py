"""All that knows Claude Code Router 2.x (and 1.0.73); nothing outside assumes either.

node, npm            a Node, and the npm that came with it
installation, pinned CCR in a directory of our own, compared with its pin before each start
package              what to run, looked up before each launch
override_files       CCR's files for one project, session or preset
pid_file             CCR's pid file, and whose process it names
launch               start one CCR, wait until it serves
preload,             what runs in CCR's process: its way to the egress
node_side
backend, liveness    one running CCR: asked, seen to die, ended
process              which process is which; started to end with us, ended with its tree
process_markers      which process is a CCR, and ours
orphans              what a predecessor left running
log, log_files       one line of CCR's log -> what went wrong; which file, how many
log_follower,        CCR's log, followed through rotation and worse
dir_watch, log_watch
"""
