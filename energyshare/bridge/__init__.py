"""The lock between the chains, seen from outside: transfers, packets, seals, and the relayer that carries them."""
