"""The startup script, wheel and reports of a TPU's machines."""
