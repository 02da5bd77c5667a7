"""What this computer is: cores, memory, versions, measured speeds, and what it computes in."""
