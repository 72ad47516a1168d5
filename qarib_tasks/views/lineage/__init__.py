"""What each dataset and model was made from, over many runs."""
