"""How: the workflows' activities, implemented with the database and the providers."""
