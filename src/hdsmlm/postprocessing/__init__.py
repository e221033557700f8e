"""From a table of localizations to results: filter, link, drift, resolution, pictures."""
