"""A small clinic: the models that the tests of the fields use."""
