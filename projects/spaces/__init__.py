"""The convolutional spaces under the proxies, beside published figures and the controls."""
