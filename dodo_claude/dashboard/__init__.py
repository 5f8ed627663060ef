"""The project live, in a terminal or a browser."""
