"""Vendors that draw. One module a vendor, all behind the contract of `base`."""
