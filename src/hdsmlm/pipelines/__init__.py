"""One function per stage; the only place where stages are wired."""
