"""Configuration: frozen sections that know no model, no Keras and no device."""
