"""What is made of results: expectations held against them, questions answered, two compared."""
