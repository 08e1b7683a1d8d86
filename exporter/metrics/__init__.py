"""What Prometheus sees: the catalogue of metrics, the numbers, and the page made of them."""
