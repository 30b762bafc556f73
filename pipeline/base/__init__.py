"""What every room uses: errors, dates, places, small files, locks, fingerprints, progress, names of outputs."""
