"""Style transfer: analyse two recordings, choose settings, check that they do no harm."""
