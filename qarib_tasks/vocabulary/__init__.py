"""Step 1: builds a WordPiece vocabulary and its tokenizer files from a text."""
