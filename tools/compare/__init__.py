"""Compare two states of the project: commits, tags, branches, experiments or the work tree."""
