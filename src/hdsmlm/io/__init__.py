"""Files: movies in, tables and count maps in and out."""
