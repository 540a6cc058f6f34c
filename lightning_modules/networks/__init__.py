"""What is trained for everyone: the target network, oracles of identity, surrogates, heads."""
