"""Reader of HDF-EOS5 grid files, which trusts no index before it is verified."""
