"""The building blocks of networks: layers, initialisers, the probes that proxies look through, options of layers."""
