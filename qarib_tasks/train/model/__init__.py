"""The BERT, its optimizer, and the training step per backend."""
