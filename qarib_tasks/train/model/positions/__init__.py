"""The positions of a row: their documents, those to predict, and those that the middle layers compute."""
