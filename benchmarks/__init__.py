"""Measurements and simulations; never imported by the product."""
