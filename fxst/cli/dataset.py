"""`fxst dataset build`."""
