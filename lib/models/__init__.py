"""The network: encoder, decoder, box tokens, weights."""
