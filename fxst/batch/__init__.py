"""`fxst apply` on files: plan, session, workers, manifest and report."""
