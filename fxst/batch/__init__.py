"""`apply` on files: what goes where, and what became of each."""
