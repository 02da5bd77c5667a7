"""This computer: cores, memory, versions, measured speeds, and the precision it computes in."""
