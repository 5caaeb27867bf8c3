"""What models are made of: encodings, networks over events, distributions, tables of trees."""
