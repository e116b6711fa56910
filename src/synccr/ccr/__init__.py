"""All that knows Claude Code Router 2.x (and 1.0.73); nothing outside assumes either.

node, npx, package   a Node, and the pinned package that it runs, checked
config_file          CCR's configuration file, and what other people wrote there
pid_file             CCR's pid file, and whose process it names
spawn, launch        start one CCR, wait until it serves
way_in, node_side    what runs in CCR's process: its way to the egress
backend, health      one running CCR: asked, seen to die, ended
identity, marks      which process is which, and which is a CCR of ours
orphans              what a predecessor left running
log, log_files       one line of CCR's log -> what went wrong; which file, how many
follower, wake,      CCR's log, followed through rotation and worse
watch
"""
