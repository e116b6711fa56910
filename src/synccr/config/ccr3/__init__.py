"""What a person configured in CCR 3, as a profile in CCR 2's form.

database     what CCR 3 keeps, read from a copy
provider     one of its providers
rules        its routing rules
keys         where keys go: into keys.env, and ``$NAME`` into the profile
profile      all of it together; pure, as the three before
offer        what can become the primary profile
"""
