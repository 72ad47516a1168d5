"""Machines from a GKE cluster: the manifest of a launch, and the client."""
