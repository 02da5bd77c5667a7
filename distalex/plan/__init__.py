"""Predicts how fast each division of the network among devices trains: from a described machine or a measured one."""
