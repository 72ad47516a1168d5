"""The file for a bug report: what it collects of a run, and how secrets are left out."""
