"""What a training writes about itself."""
