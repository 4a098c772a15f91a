// Nothing to be called: its functions stand in front of others.
