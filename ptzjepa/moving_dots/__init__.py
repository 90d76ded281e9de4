"""The moving-dots laboratory on the command line."""
