"""What an optimizer's steps under prescribed gradients tell: its norm and weights, and what is wrong with it."""
