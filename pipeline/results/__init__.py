"""Result cubes: built from blocks, published as a whole, opened as xarray datasets."""
