"""The trainer: model, data, optimizer, loop, evaluation, export. It runs in a separate process.

The modules here may import tensorflow and keras at their head, so only the commands that run in that process
import them; `hosts.termination` is for other modules too.
"""
