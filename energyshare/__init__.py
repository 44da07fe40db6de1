"""A trusted network for sharing distributed energy on Ethereum-compatible chains."""
