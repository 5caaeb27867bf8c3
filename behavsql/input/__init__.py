"""Input files: what they are, how they are read, which column plays which part."""
