"""What an ensemble learns from rows that its members were not trained on: functions of logits and labels."""
