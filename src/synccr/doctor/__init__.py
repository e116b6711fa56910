"""The doctor: what is wrong on this machine, and the line that fixes it.

result      what a check says: state, one sentence, a fix to paste, perhaps a repair
context     what a check may look at, made once and shared by all
lines       lines to paste, quoted for the shell
secrets     which texts are keys, and where they stand
checks/     the checks, one file a subject
registry    all of them, slow ones last
runner      all side by side, each guarded; repairs, and looks again
"""
