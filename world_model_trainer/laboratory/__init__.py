"""Small worlds in which an objective's failures can be seen, for the price of minutes on a CPU core."""
