"""Real grids: what sharing energy loses by the physics of lines and storages, instead of by a drawn matrix."""
