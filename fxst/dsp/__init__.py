"""Signal processing that knows no effect: filters, envelopes, spectra, loudness, limiting."""
