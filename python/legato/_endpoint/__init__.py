"""How a model on a server is called: addresses that may be, one request, batches, answers."""
