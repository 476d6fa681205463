"""What everything stands on: random numbers, devices, files, and where a file comes from."""
