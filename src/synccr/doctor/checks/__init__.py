"""The checks, one file a subject. Each looks at its context and changes nothing."""
