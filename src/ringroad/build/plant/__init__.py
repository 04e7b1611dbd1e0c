"""A plant as one typed document: its structure apart from its parameters, each of which is a posterior."""
