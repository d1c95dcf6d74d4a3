"""One module per noun: its request models and its routes, in a `router`."""
