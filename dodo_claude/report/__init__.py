"""How stages are and what they came to: as records, in words and as pages."""
