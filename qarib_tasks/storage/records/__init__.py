"""The JSON records that we write and read again: what they hold, and what happens to a damaged one."""
