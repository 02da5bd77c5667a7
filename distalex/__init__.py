"""AlexNet, trained the way the 2012 paper did, on one to many devices."""

__version__ = "0.1.0"
