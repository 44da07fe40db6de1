"""What the network costs and how fast it is: measured, never estimated."""
