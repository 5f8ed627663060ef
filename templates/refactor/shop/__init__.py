"""A small shop: what is in a cart, what it costs, and the texts that customers and owners see."""
