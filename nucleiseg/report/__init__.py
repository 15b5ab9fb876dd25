"""What is said and drawn about data and runs: sentences, figures."""
