"""Facts about the product, one in each test."""
