"""Training; Lightning lives only here."""
