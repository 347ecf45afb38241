"""The one outbound door: every connection of an adapter or a sink is made here. Requirements T-15, T-16, T-17."""
