"""The jobs: their sole owner and writer, and the stores that keep them."""
