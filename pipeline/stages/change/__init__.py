"""Change between two years of the cluster cube, with the uncertainty of both."""
