"""One chain, whatever runs it: connection, headers, proofs, keys and development chains."""
