"""Claude Code Router 3.x: two processes and a database, in a directory that synccr makes for
each start and removes at its end.

pins                 what its versions are known to be
translation,         a configuration of CCR 2 in CCR 3's words; in which form each model is
asked, transformers  asked; what CCR 2's transformers do to a request
losses               what has no such words, told before the start
node_side            what runs in CCR's process: its routes
run_directory        the directory of one CCR 3
launch, warm_up      start one CCR 3, wait until it serves
backend              one running CCR 3: other routes as it runs
"""
