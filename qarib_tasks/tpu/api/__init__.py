"""The Cloud TPU API: client, requests, errors."""
