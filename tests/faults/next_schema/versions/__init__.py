"""One module per migration, as in the product."""
