"""All that is true of the data: lattices, their images, the dataset, conditions, the held-out list."""
