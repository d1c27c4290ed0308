"""Coordination of a batch over processes and machines: chunks, their manifest parts, and the store of the parts."""
