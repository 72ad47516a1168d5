"""Commands that check a deployment, and collect what a bug report needs."""
