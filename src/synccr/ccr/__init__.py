"""All that knows Claude Code Router; nothing outside assumes a generation of it.

generations          which versions are run in one way, and what differs
loss                 what of a profile one of them does not do
v2, v3               a room for each: how it is configured, started and read
node, npm            a Node, and the npm that came with it
installation         CCR in a directory of our own, compared with its pin before each start
package,             what to run; looked up before each launch
package_source
launch_context,      what a launch is given; start one of whichever generation
launchers, spawn
start_failure        why it did not come up
backend, liveness    one running CCR: asked, seen to die, ended
output               what it prints
process              which process is which; started to end with us, ended with its tree
process_markers      which process is a CCR, and ours
orphans              what a predecessor left running
"""
