"""Stand-ins for Google services, so that the whole way runs on a laptop."""
