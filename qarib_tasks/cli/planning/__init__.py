"""Commands that say what a run takes, before it runs."""
