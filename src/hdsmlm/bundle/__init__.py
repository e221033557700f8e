"""The model bundle: what training writes and inference reads."""
