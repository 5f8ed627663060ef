"""What is said, and how: faults, a stranger's text cleaned, secrets out, durations, columns, words for states."""
