"""The examination: does an agent look where the world model is ignorant, and does that pay?"""
