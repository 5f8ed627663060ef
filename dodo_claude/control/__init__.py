"""What a person or a program may do to a project: find it, stop, start and examine it."""
