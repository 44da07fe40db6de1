"""`python -m energyshare`."""

from energyshare.cli import main

main()
