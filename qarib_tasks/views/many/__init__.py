"""Views of many runs: the table of all runs, and the comparison of some."""
