"""SeeFood102: which of 101 dishes is on a photo, or that it is none of them."""

__version__ = "0.1.0"
