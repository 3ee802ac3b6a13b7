"""Who may call: secrets, their cache, the rules of keys, and what is told of refusals."""
