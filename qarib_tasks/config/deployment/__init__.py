"""The settings of a deployment, which are in its environment, not in the form."""
