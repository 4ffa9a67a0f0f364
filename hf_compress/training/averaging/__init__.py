"""Averages of the weights over the steps of a training run, as callbacks for any transformers Trainer."""
