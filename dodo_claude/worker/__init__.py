"""One stage's attempt, from its order to its outcome."""
