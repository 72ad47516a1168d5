"""Step 1: a text to a WordPiece vocabulary and its tokenizer's files."""
