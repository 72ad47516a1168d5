"""The trainer: model, data, optimizer, loop, evaluation, export. It runs in a process of its own.

The modules here may import tensorflow and keras at their head, so nothing outside imports them but the
commands that run in that process; `termination` alone is for others too.
"""
