"""What a run takes and costs, before it runs: calculated, not measured."""
